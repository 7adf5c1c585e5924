"""Where GPUs are read: NVML, or a folder that simulates them."""
