"""The loss on held-out examples."""

import torch

from fromnoise.data.examples import Examples
from fromnoise.data.feed import as_state
from fromnoise.system.hardware import Hardware
from fromnoise.train.distributed import Processes
from fromnoise.train.task import Task


@torch.no_grad()
def held_out_loss(
    task: Task, examples: Examples, hardware: Hardware, batch_size: int, processes: Processes | None = None
) -> float:
    """The mean loss of all examples, without dropout.

    The random numbers are those of step 0, so that they are the same at every measurement.

    Args:
        task: the task, with the weights to evaluate; its network is left in evaluation mode.
        examples: the held-out examples, each of which is evaluated once.
        hardware: device and number format.
        batch_size: examples that are evaluated together, over all processes.
        processes: the processes of the run, which must all call this, each for its share. All of them call the network
            equally often.
    """
    n, total = len(examples), 0.0
    rank, world = (processes.rank, processes.world) if processes is not None else (0, 1)
    group = task.together(batch_size)  # kept together for any number of processes
    share = max(group, batch_size // world // group * group)
    task.network.eval()
    for start in range(0, n, share * world):
        own = range(n)[start + rank * share : start + (rank + 1) * share]
        places = own or range(min(group, n))  # the last process may have none, but must take part
        x, conditions = examples.examples(places)
        drawn = task.draw(tuple(x.shape[1:]), conditions, places, 0, n)
        put = {name: value if name in task.on_cpu else hardware.put(value) for name, value in drawn.items()}
        losses = task.losses(as_state(hardware.put(x), None), put)["loss"].double()
        total += losses.sum().item() if own else 0.0
    whole = torch.tensor([total], dtype=torch.float64)
    return (whole if processes is None else processes.sum(whole)).item() / n
