"""The programs compile for TPUs that aren't here, by the compiler that TPUs have."""

import pytest
from compilers import lines_of

from benchmarks.tpu_compiler import V5E, environment, scheduled_seconds

SMALL = """
import json, sys
from benchmarks.tpu_compiler import V5E, devices, scheduled_seconds
from model.config import GemmaConfig, PaliGemmaConfig, VisionConfig
from model.fit import Trial
from model.memory import needed
from model.programs import EngineSpec
from model.sharding import Placement

config = PaliGemmaConfig(
    VisionConfig(image_size=56, width=64, depth=2, mlp_dim=128, num_heads=2),
    # So deep that the layers are looped over, as in any released model.
    GemmaConfig(256, 7, 512, 4, 2, 128, 128**-0.5, 1024, attention_cap=50.0, post_norms=True),
)
spec = EngineSpec("small", "bfloat16", batch_size=8, prompt_lengths=(8,), max_new_tokens=4)
for topology, tensor_parallel in (("v5e:1x1", 1), ("v5e:2x2", 2)):
    placement = Placement.over(devices(topology), tensor_parallel)
    trial = Trial(spec, config, placement, int(V5E.memory))
    programs, need = trial.of(8)
    hlo = programs.generate[8].as_text()
    print(json.dumps({
        "chips": placement.mesh.size,
        "weights": trial.weights,
        "need": need,
        "all_reduces": hlo.count(" all-reduce(") + hlo.count(" all-reduce-start("),
        "seconds": scheduled_seconds(hlo, V5E, steps=3),
    }))
huge = Trial(spec, config, Placement.over(devices("v5e:1x1")), int(V5E.memory))
print(json.dumps({"huge": huge.of(1 << 20)[0] is None}))
"""


@pytest.fixture(scope="module")
def found():
    return lines_of(SMALL, environment())


def test_a_small_model_compiles_for_one_chip(found):
    one = found[0]
    assert one["chips"] == 1
    assert one["all_reduces"] == 0
    assert one["weights"] < one["need"] < 64e6
    assert 0 < one["seconds"] < 0.01


def test_it_compiles_for_four_that_share_it(found):
    one, four = found[:2]
    assert four["chips"] == 4
    assert four["all_reduces"] >= 4  # behind attention and MLP, in prefill and in the loop
    assert four["weights"] < 0.6 * one["weights"]


def test_a_batch_that_the_compiler_refuses_does_not_fit(found):
    assert found[2]["huge"]


def test_loops_count_as_often_as_they_run():
    hlo = """
%cond (p: (s32[])) -> pred[] {
  %limit = s32[]{:T(128)} constant(18)
}
%body (p: (s32[])) -> (s32[]) {
  %x = f32[8] add(%a, %b), backend_config={"estimated_cycles":"1000"}
}
%open (p: (s32[])) -> pred[] {
  %limit = s32[] parameter(0)
}
%short (p: f32[8]) -> f32[8] {
  %z = f32[8] add(%a, %b), backend_config={"estimated_cycles":"3"}
}
%long (p: f32[8]) -> f32[8] {
  %z = f32[8] add(%a, %b), backend_config={"estimated_cycles":"20"}
}
%outer (p: (s32[])) -> (s32[]) {
  %w = (s32[]) while(%t), condition=%cond, body=%body
  %c = f32[8] conditional(%p, %a, %b), true_computation=%short, false_computation=%long
  %d = f32[8] conditional(%p, %a, %b), branch_computations={%short, %long}, metadata={x}
  %y = f32[8] add(%a, %b), backend_config={"estimated_cycles":"500"}
}
ENTRY %main (p: f32[8]) -> f32[8] {
  %z = f32[8] add(%a, %b), backend_config={"estimated_cycles":"7"}
  %w = (s32[]) while(%t), condition=%open, body=%outer
}
"""
    assert scheduled_seconds(hlo, V5E, steps=15) == (7 + 15 * (18 * 1000 + 40 + 500)) / V5E.clock
