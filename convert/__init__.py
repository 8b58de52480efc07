"""edgetrack-convert: a trained recurrent model becomes a bundle that runs one step at a time.

The path of a conversion, and the module that each stop is:

    loading     a file or class -> SourceModel (model): keras, torch, onnx, step_file
    samples     what it is tried on: a video, pictures, arrays, or made here
    conversion  encoder and step are written (networks), quantised (quantise), their batch freed
                where a state belongs to a track (free_batch), stepped by `edge`, compared with
                the source over time (verify), and saved as a bundle, or refused

A recurrent layer becomes one step by a rule (keras.rules, torch.rules, onnx.rules); the cells
themselves are written once (cells).
"""
