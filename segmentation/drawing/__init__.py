"""Pictures of what training and evaluation found. Matplotlib is loaded only when one is drawn."""
