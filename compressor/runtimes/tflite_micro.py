"""The environment of TFLite Micro, the interpreter for microcontrollers, on this machine."""

from compressor.runtimes.environments import Environment

TFLITE_MICRO = Environment(
    name="tflite-micro",
    version="0.dev20261023182759",
    requirements=(
        (
            "flatbuffers==25.12.19",
            ("7634f50c427838bb021c2d66a3d1168e9d199b0607e6329399f04846d42e20b4",),
        ),
        (
            "numpy==2.2.6",
            ("ba10f8411898fc418a521833e014a77d3ca01c15b0c6cdcce6a0d2897e6dbbdf",),
        ),
        (
            "pyyaml==6.0.4",
            ("622aa875fa6533f25fedcffe23079357d65a690d462200afed5d8e9d0e01ebee",),
        ),
        (
            "tflite-micro==0.dev20261023182759",
            ("15de433ac849d6bc09b314ce455347af480ebdb6335d8680e4fb8c3fd2b59af2",),
        ),
    ),
    pythons=((3, 11),),
    machines=(("Linux", "x86_64"),),
    check="import numpy, tflite_micro.python.tflite_micro.runtime",
)
