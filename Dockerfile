# One image for every role: listener, workers, Flower, simulator. Build: docker build -t bithumb-collector .
# Two stages: pip and its leftovers stay behind. The layer with the dependencies is built again only when
# pyproject.toml or constraints.txt change.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
      print(*p['dependencies'], *p['optional-dependencies']['history'], *p['optional-dependencies']['serve'], *p['optional-dependencies']['alerts'], sep='\n')" >/tmp/requirements.txt \
 && pip install --quiet -c constraints.txt -r /tmp/requirements.txt
COPY README.md LICENSE celeryconfig.py ./
COPY bithumb_collector bithumb_collector
COPY collector collector
COPY tasks tasks
RUN pip install --quiet --no-deps .

FROM ${BASE}
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin collector \
 && mkdir /data && chown collector /data
COPY --from=build /opt/venv /opt/venv
COPY deploy/healthcheck.py /opt/healthcheck.py
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 COLLECTOR_DATA_DIR=/data
USER collector
WORKDIR /data
# No shell and no wrapper in between: the process itself gets SIGTERM.
CMD ["collector", "run"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["python", "/opt/healthcheck.py", "listener"]
