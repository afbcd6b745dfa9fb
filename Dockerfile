# docker build -t pin-the-memory .                               # on Linux with x86, torch comes with CUDA, and runs without a GPU, too
# docker build -t pin-the-memory --build-arg TORCH_INDEX=URL .   # CPU alone, much smaller: URL of the index that torch's installation page names
#
# docker run --rm --gpus all --shm-size 8g --user "$(id -u):$(id -g)" -v /datasets:/datasets:ro -v "$PWD:/project" \
#     pin-the-memory train experiment=multi_source_gsi paths.data=/datasets
# Leave --gpus out on a machine without one. Loading processes pass images on through shared memory, hence --shm-size.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1
WORKDIR /opt/pin-the-memory
COPY constraints.txt .

# Torch first: it is the largest layer and changes least. A build of the further index (2.15.0+cpu) goes before the plain one of the same number.
ARG TORCH_INDEX=""
RUN pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -c constraints.txt torch torchvision

COPY pyproject.toml README.md LICENSE ./
COPY conf conf
COPY src src
ARG EXTRAS=wandb,analysis,export,sweeps,demo
RUN pip install -c constraints.txt ".[${EXTRAS}]"

# Any user may run it and write to the mounted folder; downloaded weights last as long as the container unless /cache is a volume.
ENV HOME=/cache
RUN mkdir -m 1777 /cache /project
WORKDIR /project
ENTRYPOINT ["pin-memory"]
CMD ["--help"]
