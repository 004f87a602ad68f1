// The API's schema as a page to read and try (Swagger UI, served from here).
const place = document.getElementById("api");
const system = matchMedia("(prefers-color-scheme: dark)");

function colours() {
  const chosen = document.documentElement.dataset.theme;
  const dark = chosen ? chosen === "dark" : system.matches;
  document.documentElement.classList.toggle("dark-mode", dark);
}

colours();
system.addEventListener("change", colours);
new MutationObserver(colours).observe(document.documentElement, { attributeFilter: ["data-theme"] });

SwaggerUIBundle({
  url: place.dataset.schema,
  domNode: place,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  docExpansion: "none",
  persistAuthorization: false, // a token stays out of the browser's storage
  validatorUrl: null, // no other host learns of the schema
  requestInterceptor: (request) => {
    // Whoever is signed in may try changes without a token.
    if (!["GET", "HEAD", undefined].includes(request.method)) {
      request.headers["X-CSRFToken"] = document.querySelector("meta[name=csrf]").content;
    }
    return request;
  },
});
