# The app in a container, with the shipped checkpoints, on a CPU:
#     docker build -t waveletgpt . && docker run -p 7860:7860 waveletgpt
FROM python:3.11-slim

ENV PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1

# torch comes first and by exactly this version, as in the Makefile: a range may resolve to gigabytes of CUDA packages.
RUN pip install --no-cache-dir torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu

# The sources are mounted to be built and do not become part of the image (BuildKit, the default since Docker 23).
RUN --mount=type=bind,target=/src,rw pip install --no-cache-dir /src

# A home folder keeps the compiled generation engine and the votes of the blind test.
RUN useradd --create-home --uid 1000 app
USER 1000
WORKDIR /home/app

EXPOSE 7860
HEALTHCHECK --start-period=120s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860', timeout=9)"]
CMD ["waveletgpt", "app", "--host", "0.0.0.0"]
