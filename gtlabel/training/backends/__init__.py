"""What can train on a dataset, and how each is asked.

`builtin` is AWS's image classification of MXNet: augmented manifests in Pipe mode, on a GPU. Its request is
`gtlabel.training.request.TrainingJobRequest`.

`tensorflow` is AWS's image classification of TensorFlow: class folders in File mode, on any machine. It reads
no manifests; the dataset needs the format `imagefolder`. Where AWS keeps its image, its script and its
pretrained networks only the SDK knows, so `image`, `source` and `pretrained` are to be given. Its request is
`gtlabel.training.backends.tensorflow.TensorFlowRequest`.

`container` is an image of one's own, or a script in one of AWS's PyTorch images (`source` and `program`), on
any machine: the manifests in Pipe mode (`gtlabel.training.reader` reads them), or the pictures in FastFile or
File mode beside the manifests. Its request is `gtlabel.training.backends.container.ContainerRequest`.

`gtlabel.plan_training(aws, dataset, role=..., backend=..., **options)` makes the request of each; what else
can be asked is `gtlabel.training.plan.TrainingOptions`. All of them are `TrainingRequest`s, which
`create_training_job` takes; `request.warnings` are sentences for a person, to be shown before it is sent.
"""

from __future__ import annotations

from typing import Literal

Backend = Literal["builtin", "tensorflow", "container"]
InputMode = Literal["Pipe", "FastFile", "File"]
