# Three images, none of which holds another's folder: `docker build --target NAME -t NAME .`
#
#   service       the reward service on a CPU: service/ and rules/ over requirements/service.txt
#   service-gpu   the same with vLLM in its process: one container per GPU
#   trainer       OpenRLHF and rbr-train: trainer/ alone
#
# The pins come first and the code last: a change of code makes one small layer anew.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim
# The CUDA of the locked torch, with nvcc: flash-attn is compiled here, DeepSpeed's operators at the first start.
ARG CUDA_IMAGE=docker.io/nvidia/cuda:13.0.2-devel-ubuntu24.04

# One distribution is the wheel of whatever folders are there; a command without its folder is struck out.
FROM ${PYTHON_IMAGE} AS service-wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY rules rules
RUN sed -i '/= "rbr_trainer\./d' pyproject.toml && pip wheel -q --no-cache-dir --no-deps -w /wheels .

FROM ${PYTHON_IMAGE} AS trainer-wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY trainer trainer
RUN sed -i '/= "rbr_service\./d' pyproject.toml && pip wheel -q --no-cache-dir --no-deps -w /wheels .

# What runs: an environment in /opt/rbr, a user without rights, one folder that may be written to.
FROM ${PYTHON_IMAGE} AS service-base
LABEL org.opencontainers.image.title="Rule Based Rewards: service" \
      org.opencontainers.image.description="A written policy as a reward for reinforcement learning" \
      org.opencontainers.image.licenses="MIT"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/rbr --shell /usr/sbin/nologin rbr \
    && install -d -o rbr -g rbr /var/lib/rbr
ENV PATH=/opt/rbr/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HOME=/var/lib/rbr/huggingface \
    RBR_HOST=0.0.0.0 RBR_PORT=8000
WORKDIR /var/lib/rbr
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=15m --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"RBR_PORT\"]}/healthz', timeout=4)"]
ENTRYPOINT ["rbr"]
CMD ["serve"]

FROM ${PYTHON_IMAGE} AS service-pins
RUN python -m venv --without-pip /opt/rbr
COPY requirements/service.txt requirements/dev.txt /tmp/
RUN pip --python /opt/rbr/bin/python install -q --no-cache-dir -r /tmp/service.txt -c /tmp/dev.txt redis

FROM service-base AS service-gpu
# Triton and FlashInfer compile kernels when the engine starts. A pinned g++ would vanish from Debian's mirrors.
# hadolint ignore=DL3008
RUN apt-get update -q && apt-get install -qy --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN python -m venv --without-pip /opt/rbr
COPY deploy/locks/service-gpu.txt /tmp/
RUN pip --python /opt/rbr/bin/python install -q --no-cache-dir --no-deps -r /tmp/service-gpu.txt
RUN --mount=type=bind,from=service-wheel,source=/wheels,target=/wheels \
    pip --python /opt/rbr/bin/python install -q --no-cache-dir --no-deps --no-index /wheels/*.whl
USER 10001:10001

FROM ${CUDA_IMAGE} AS trainer
LABEL org.opencontainers.image.title="Rule Based Rewards: trainer" \
      org.opencontainers.image.description="OpenRLHF with rbr-train, against a reward service" \
      org.opencontainers.image.licenses="MIT"
# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -qy --no-install-recommends g++ python3-dev python3-venv && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /work --shell /usr/sbin/nologin rbr \
    && install -d -o rbr -g rbr /work && python3 -m venv /opt/rbr
ENV PATH=/opt/rbr/bin:$PATH PYTHONUNBUFFERED=1 HF_HOME=/work/huggingface
COPY deploy/locks/trainer.txt /tmp/
# Both builds import torch, so that it has to be there before them. Other GPUs: --build-arg TORCH_CUDA_ARCH_LIST=...
ARG TORCH_CUDA_ARCH_LIST="8.0;9.0" MAX_JOBS=8
RUN grep -vE '^(flash-attn|deepspeed)==' /tmp/trainer.txt > /tmp/wheels.txt \
    && pip install -q --no-cache-dir --no-deps -r /tmp/wheels.txt \
    && pip install -q --no-cache-dir --no-deps --no-build-isolation -r /tmp/trainer.txt
RUN --mount=type=bind,from=trainer-wheel,source=/wheels,target=/wheels \
    pip install -q --no-cache-dir --no-deps --no-index /wheels/*.whl
WORKDIR /work
USER 10001:10001
ENTRYPOINT ["rbr-train"]
CMD ["--help"]

# Last, so that a build without --target makes it.
FROM service-base AS service
COPY --from=service-pins /opt/rbr /opt/rbr
RUN --mount=type=bind,from=service-wheel,source=/wheels,target=/wheels \
    pip --python /opt/rbr/bin/python install -q --no-cache-dir --no-deps --no-index /wheels/*.whl
USER 10001:10001
