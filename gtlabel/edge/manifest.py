"""What `manifest.json` in a bundle says: schema 2.

The program on the device reads it as plain JSON (`gtlabel.edge.device`); this is the form in full.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 2
# What a probability may differ by between two machines: other instructions sum in another order. Rounding to
# eight bits turns a difference in the last bit into a whole step, which is more.
TOLERANCE = 0.01
TOLERANCE_INT8 = 0.05

Precision = Literal["fp32", "int8"]


class _Part(BaseModel):
    """A part of the manifest; keys of a later schema are carried along."""

    model_config = ConfigDict(frozen=True, extra="allow")


class ModelFile(_Part):
    """A network: its file and what identifies it."""

    file: str
    sha256: str
    bytes: int


class ModelInput(_Part):
    """How a picture becomes the network's input; `gtlabel/networks/preprocess.py` does exactly this."""

    name: str
    shape: tuple[Literal[1], Literal[1, 3], int, int]
    color: str = "RGB"
    values: str = "float32, 0..255"
    mean: float = 0.0
    std: float = 1.0
    resize: str = "the whole picture squeezed to height x width, bilinear, EXIF orientation applied"


class Accuracy(_Part):
    """How many of the pictures that were kept from training each network labels right.

    Attributes:
        pictures: how many there were; 0 where nobody looked.
        fp32: the share that `model.onnx` has right.
        int8: the share that the network of 8 bits has right; None where there is none.
        most_drop: what int8 may lose to be used.
        decision: why the network is used that is used, in a sentence.
        training: what the training job said of itself, such as `validation:accuracy`.
    """

    pictures: int = 0
    fp32: float | None = None
    int8: float | None = None
    most_drop: float | None = None
    decision: str = ""
    training: dict[str, float] = Field(default_factory=dict)


class SelfTestCase(_Part):
    """One bundled picture, and what each network said about it when the bundle was built."""

    image: str
    label: str
    probabilities: dict[Precision, tuple[float, ...]]


class SelfTest(_Part):
    """The pictures a device proves itself on.

    Attributes:
        tolerance: what a probability may differ by, for each network.
        cases: the pictures.
    """

    tolerance: dict[Precision, float]
    cases: tuple[SelfTestCase, ...]


class Runtime(_Part):
    """What runs the network on the device.

    Attributes:
        name: of the package.
        version: the one that `requirements.txt` names, and that bundles are tested with.
        built_with: the one that computed the numbers of the self-test.
        requirements: the set of packages that was taken.
        needed: the packages without which the program cannot do what it is told to; `requirements.txt` may
            name more.
        wheels: the platforms whose wheels are in the bundle, such as `linux-x86_64:3.11`.
    """

    name: str = "onnxruntime"
    version: str
    built_with: str
    requirements: str = "default"
    needed: tuple[str, ...] = ()
    wheels: tuple[str, ...] = ()


class BundleManifest(_Part):
    """What `manifest.json` in a bundle says.

    Attributes:
        schema_: the number of this form.
        name: the model's name, which unit and folders are called after.
        gtlabel: the version that built it.
        target: `bundle` or `deeplens`.
        models: the networks by their precision.
        model: the one to use.
        input: what they take.
        labels: the classes in the order of the probabilities.
        multi_label: whether a picture may have several, each with a probability for itself.
        threshold: the confidence below which a device gives no label unless told otherwise.
        runtime: what runs them.
        accuracy: how good they are.
        lineage: where they come from: the training job, the labeling jobs, digests of data and model.
        self_test: what a device proves itself on.
    """

    schema_: int = Field(alias="schema", default=SCHEMA)
    name: str
    gtlabel: str
    target: str = "bundle"
    models: dict[Precision, ModelFile]
    model: Precision = "fp32"
    input: ModelInput
    labels: tuple[str, ...]
    multi_label: bool = False
    threshold: float
    runtime: Runtime
    accuracy: Accuracy = Accuracy()
    lineage: dict[str, Any] = Field(default_factory=dict)
    self_test: SelfTest
