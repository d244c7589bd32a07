"""Files of any origin, .tflite and .onnx: reading, describing, exporting and pruning them."""
