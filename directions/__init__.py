"""The directions that are shipped with the embedded model, one self-describing ``.safetensors`` each."""
