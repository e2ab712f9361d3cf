"""Memory does not grow with the length of a run.

E environments.
"""

import dataclasses
import gc

import pytest
import torch
from training_toys import TINY, TOY

from accredit.training.trainer import Trainer


def living() -> tuple[int, int]:
    """Return how many objects the collector knows, and the bytes of all tensors."""
    gc.collect()
    objects = gc.get_objects()
    # what other tests left behind may be sparse, or a stand-in of the compiler: neither has a number of bytes
    kinds = (torch.Tensor, torch.nn.Parameter)
    tensors = [one for one in objects if type(one) in kinds and one.is_cpu and one.layout is torch.strided]
    return len(objects), sum(tensor.nbytes for tensor in tensors)


def after(trainer: Trainer, updates: int) -> tuple[int, int]:
    for _ in range(updates):
        trainer.learn()
    return living()


@pytest.mark.parametrize("memory", ["none", "gru"])
def test_a_run_three_times_as_long_holds_no_more_objects_and_not_one_byte_of_tensors_more(memory: str):
    """[R29] [R16] Once every host seed has been met: controls are remembered one a seed, nothing is one an update."""
    config = dataclasses.replace(
        TINY, updates=40, ppo=dataclasses.replace(TINY.ppo, memory=type(TINY.ppo.memory)(memory))
    )
    trainer = Trainer(TOY, config, on_event=lambda _: None)
    trainer.warm_up()
    objects, tensor_bytes = after(trainer, 6)
    later_objects, later_bytes = after(trainer, 12)
    assert later_bytes == tensor_bytes
    assert abs(later_objects - objects) < 60
