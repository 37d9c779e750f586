# The pinned versions of everything that tools/setup.sh installs from PyPI. Sourced, not run.
# Unpacked into deps/ for their C++ libraries, headers and .proto; no Python is needed at run time.
library_wheels=(torch==2.13.0 onnx==1.23.2 onnxruntime==1.32.0)
# Installed into deps/venv: the peers that conformance tests compare with.
peer_wheels=(torch==2.13.0 onnx==1.23.2 onnxruntime==1.32.0 onnxruntime-genai==0.18.0 transformers==5.23.0
  tokenizers==0.23.3 compressed-tensors==0.20.0 safetensors==0.8.0 numpy==2.4.6 accelerate==1.15.0)
