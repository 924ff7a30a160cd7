# One image for the API, the workers and the migrations; configured by environment variables only.

FROM python:3.11-slim AS dependencies
COPY requirements.lock .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock

FROM python:3.11-slim
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1
RUN useradd --system --no-create-home --shell /usr/sbin/nologin journeys
COPY --from=dependencies /venv /venv
# What belongs in is listed in .dockerignore.
COPY . /app
RUN python -m compileall -q /app
WORKDIR /app
USER journeys
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
# Without an access log, which would hold links that act for a customer. h11 holds a request's line and headers to
# 64 kB; uvicorn's faster parser takes any size from anybody.
CMD ["uvicorn", "api.app:create_app", "--factory", "--host", "0.0.0.0", "--port", "8000", "--no-access-log", "--http", "h11", "--no-server-header", "--timeout-graceful-shutdown", "20"]
