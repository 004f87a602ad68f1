# One image for web, workers and scheduler; docker-compose.yml says which is which.
FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PAYSAGE_HOME=/data
RUN useradd --create-home --uid 10001 paysage && mkdir /data && chown paysage /data
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY retrieval/web/packages/*.json /usr/local/web/
RUN cd /usr/local/web && npm ci --omit=dev --silent
COPY --chown=paysage . .
USER paysage
VOLUME /data
EXPOSE 8000
CMD ["gunicorn", "retrieval.wsgi:application", "--bind", "0.0.0.0:8000", "--worker-class", "gthread", "--threads", "12"]
