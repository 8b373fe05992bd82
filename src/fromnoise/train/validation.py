"""The loss on examples that training never sees."""

import torch

from fromnoise.data.examples import Examples
from fromnoise.data.feed import as_state
from fromnoise.system.hardware import Hardware
from fromnoise.train.task import Task


@torch.no_grad()
def held_out_loss(task: Task, examples: Examples, hardware: Hardware, batch_size: int) -> float:
    """The mean loss of all examples, without dropout: their draws are those of step 0, the same at every measurement.

    Args:
        task: with the weights that are measured; its network is left in evaluation mode.
        examples: every one is looked at once.
        hardware: where the network is.
        batch_size: examples that are computed together.
    """
    n, total = len(examples), 0.0
    task.network.eval()
    for start in range(0, n, batch_size):
        places = range(start, min(start + batch_size, n))
        x, conditions = examples.examples(places)
        drawn = task.draw(tuple(x.shape[1:]), conditions, places, 0, n)
        put = {name: value if name in task.on_cpu else hardware.put(value) for name, value in drawn.items()}
        total += task.losses(as_state(hardware.put(x), None), put)["loss"].double().sum().item()
    return total / n
