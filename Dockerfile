# The gateway alone, for servers of your own: docker build -t payonce . (compose.yaml has the rest)

FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/payonce
COPY requirements-runtime.lock ./
RUN /opt/payonce/bin/pip install --no-cache-dir --require-hashes -r requirements-runtime.lock
COPY . .
RUN /opt/payonce/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/payonce payonce
COPY --from=build /opt/payonce /opt/payonce
ENV PATH=/opt/payonce/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PAYONCE_HOST=0.0.0.0 \
    PAYONCE_DATA=/var/lib/payonce/data
USER 10001
WORKDIR /var/lib/payonce
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/health/ready', timeout=2)"]
ENTRYPOINT ["payonce"]
CMD ["serve"]
