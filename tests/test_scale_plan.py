"""`benchmarks/scale.py`: what it counts against real runs and hand values, what it times against timelines done by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from forked import together
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import fromnoise as fn

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from scale_stages import (  # noqa: E402 (the path comes first)
    collectives,
    engine,
    failures,
    machines,
    planning,
    published,
    tables,
    timeline,
    worker,
    workloads,
)
from scale_stages.engine import Layout  # noqa: E402
from scale_stages.tracing import GATHER, REDUCE, SCATTER, Event, Trace, Tracer, rebuilt  # noqa: E402

SMALL = {"network.depth": 2, "network.width": 64, "network.heads": 2}
NODE = {"per_node": 2, "batch": 4, "precision": "fp32", "device": "cpu"}


def small(**changes):
    return workloads.load("digits-dit", SMALL | changes)


# rings


def sent_around(kind, chunks):
    """A ring, done: (steps, most bytes that a device sent), where each device sends one chunk a step to the next."""
    n = len(chunks)
    holds = [[{rank} for _ in range(n)] for rank in range(n)]  # whose sums of each chunk a device has
    sent = [0] * n
    if kind == GATHER:
        holds = [[set(range(n)) if chunk == rank else set() for chunk in range(n)] for rank in range(n)]
    step = 0

    def done():
        whole = set(range(n))
        if kind == SCATTER:
            return all(whole in held for held in holds)
        return all(chunk == whole for held in holds for chunk in held)

    while not done():
        moving = [(rank, (rank - step) % n) for rank in range(n)]
        before = [[set(chunk) for chunk in held] for held in holds]
        for rank, chunk in moving:
            holds[(rank + 1) % n][chunk] |= before[rank][chunk]
            sent[rank] += chunks[chunk]
        step += 1
    return step, max(sent)


@pytest.mark.parametrize("kind", [GATHER, SCATTER, REDUCE])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_a_ring_takes_the_steps_and_sends_the_bytes_that_it_does(kind, n):
    steps, most = sent_around(kind, [100] * n)
    assert collectives.steps(kind, n) == steps
    assert collectives.sent(kind, 100 * n, n) == most


def test_rings_in_seconds_by_hand():
    assert collectives.ring(REDUCE, 1e9, 8, 100e9) == pytest.approx(2 * 7 / 8 * 0.01)
    assert collectives.ring(GATHER, 1e9, 8, 100e9, 5e-6, 1e-3) == pytest.approx(1e-3 + 7 * 5e-6 + 7 / 8 * 0.01)
    assert collectives.ring(SCATTER, 1e9, 1, 100e9, 5e-6, 1e-3) == 0


def test_a_network_is_a_ring_through_all_machines():
    protocol = collectives.Protocol(1e-5, 2e-6, 7e-6)
    network = collectives.Network(inside=300e9, between=50e9, protocols=(protocol,), tree=None)
    assert network.seconds(GATHER, 8e9, 8, 1) == pytest.approx(1e-5 + 7 * 2e-6 + 7 / 8 * 8 / 300)
    # 4 machines: 3 of 31 steps are between them; 8 ports of 50 GB/s are more than a device sends inside
    assert network.seconds(GATHER, 8e9, 8, 4) == pytest.approx(1e-5 + 28 * 2e-6 + 3 * 7e-6 + 31 / 32 * 8 / 300)
    assert network.seconds(SCATTER, 8e9, 2, 4) == pytest.approx(1e-5 + 4 * 2e-6 + 3 * 7e-6 + 7 / 8 * 8 / 100)
    assert network.seconds(REDUCE, 8e9, 1, 4) == pytest.approx(1e-5 + 6 * 7e-6 + 2 * 3 / 4 * 8 / 50)
    both = collectives.Network(300e9, 50e9, (protocol,), collectives.Protocol(1e-5, 2e-6, 7e-6))
    few, many = (net.seconds(REDUCE, 1e3, 8, 128) for net in (both, network))
    assert few == pytest.approx(1e-5 + 2 * (7 * 2e-6 + 7 * 7e-6), rel=1e-2)  # log2(128) machines up and down a tree
    assert few < many / 10


def test_a_line_is_found_through_its_points():
    assert collectives.line([(x, 3e-4 + 2e-9 * x) for x in (1e3, 1e5, 1e7)]) == pytest.approx((3e-4, 2e-9))


# what is counted


def counted(network, *given):
    tracer = Tracer()
    with tracer:
        tracer.start()
        out = network(*given)
        tracer.phase = "backward"
        out.sum().backward()
        return tracer.finish()


def test_operations_are_counted_as_by_hand():
    x = torch.randn(5, 7, requires_grad=True)
    trace = counted(nn.Linear(7, 11), x)
    assert trace.flops("matmul", "forward") == 2 * 5 * 7 * 11
    assert trace.flops("matmul", "backward") == 2 * (2 * 5 * 7 * 11)  # of the input, and of the weight
    trace = counted(nn.Conv2d(3, 8, 3, padding=1), torch.randn(2, 3, 6, 5, requires_grad=True))
    assert trace.flops("convolution", "forward") == 2 * 2 * 8 * 6 * 5 * 3 * 9
    assert trace.flops("convolution", "backward") == 2 * trace.flops("convolution", "forward")
    q = torch.randn(2, 3, 16, 8, requires_grad=True)
    trace = counted(F.scaled_dot_product_attention, q, q, q)
    assert trace.flops("attention", "forward") == 2 * (2 * 2 * 3 * 16 * 16 * 8)  # q k' and its product with v


def test_bytes_that_move_are_counted_as_by_hand():
    a, b = torch.zeros(10, 30), torch.zeros(30)
    tracer = Tracer()
    with tracer:
        tracer.start()
        (a + b).t().view(10 * 30 // 10, 10)
        trace = tracer.finish()
    assert trace.moved() == 4 * (300 + 30 + 300)  # both are read, the sum is written; views move nothing
    assert trace.operations() == 1


def test_a_step_without_memory_counts_what_pytorch_counts_in_a_real_one():
    workload = small()
    trace = engine.traced(small(), Layout(**NODE))
    workload.network.to_empty(device="cpu")
    for p in workload.network.parameters():
        p.data.normal_(std=0.02)
    with FlopCounterMode(display=False) as counter:
        workload.loss(workload.network, 4).backward()
    of_attention = trace.flops("attention")
    assert trace.flops(phase="forward") + trace.flops(phase="backward") == counter.get_total_flops() + of_attention
    assert of_attention > 0  # which PyTorch's counter does not know on the CPU


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_kept_for_the_backward_pass_is_what_a_real_run_keeps(recompute, precision):
    trace = engine.traced(small(), Layout(**NODE | {"recompute": recompute, "precision": precision}))
    workload = small()
    network = workload.network
    network.to_empty(device="cpu")
    for p in network.parameters():
        p.data.normal_(std=0.02)
    if recompute:
        fn.nn.recompute_blocks(network)
    weights = {p.untyped_storage().data_ptr() for p in (*network.parameters(), *network.buffers())}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage  # held, so that no address comes twice
        return tensor

    low = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), low:
        loss = workload.loss(network, 4)
    expected = sum(s.nbytes() for place, s in kept.items() if place not in weights)
    held = trace.after_forward - trace.at_rest - loss.nbytes
    assert expected <= held < 1.02 * expected + 512  # what functions keep beside tensors is next to nothing


def test_the_trainer_holds_what_is_predicted(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # which `run` sets for its process, and this one goes on
    found = worker.run("digits-dit", SMALL, Layout(**NODE), 0)
    assert 0.98 < found["predicted"]["peak"] / found["measured"]["peak"] <= 1  # examples and noise are left out
    assert found["predicted"]["flops"] == found["measured"]["flops"]


def sharded(out):
    found = worker.run("digits-dit", SMALL, Layout(**NODE | {"devices": 2, "shard": "full", "precision": "bf16"}), 0)
    if os.environ["RANK"] == "0":
        out.write_text(json.dumps(found))


def test_sharded_by_the_trainer_over_processes_it_holds_and_sends_what_is_predicted(tmp_path):
    together(2, sharded, tmp_path, tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    p, m = found["predicted"], found["measured"]
    assert 0.96 < p["peak"] / m["peak"] <= 1
    assert p["collectives"] == m["collectives"]
    kinds = [kind for kind, _ in p["collectives"]]
    assert [kinds.count(kind) for kind in (GATHER, SCATTER, REDUCE)] == [6, 3, 0]  # two blocks and the rest


def test_copies_in_machines_are_scattered_inside_and_reduced_between_them():
    trace = engine.traced(small(), Layout(**NODE | {"devices": 6, "shard": "hybrid"}))
    scattered, reduced = trace.collectives(SCATTER), [e for e in trace.collectives(REDUCE) if e.name != "agreement"]
    assert [e.size for e in reduced] == [e.size // 2 for e in scattered]  # each of two devices has its half
    assert trace.at_rest == engine.traced(small(), Layout(**NODE | {"devices": 2, "shard": "full"})).at_rest


def test_weights_are_cut_over_any_number_of_processes():
    layout = Layout(**NODE | {"devices": 6, "shard": "full"})
    trace = engine.traced(small(), layout)
    rows = sum(-(-p.shape[0] // 6) * p.numel() // p.shape[0] for p in small().network.parameters())
    buffers = sum(b.numel() for b in small().network.buffers())
    steps = len(list(small().network.parameters()))
    assert trace.at_rest == 4 * (4 * rows + buffers + steps + 1)  # itself, its average, two moments, AdamW's count
    whole = engine.traced(small(), Layout(**NODE))
    assert trace.flops("matmul") == whole.flops("matmul")
    assert trace.peak < whole.peak


def test_ddp_fills_buckets_as_pytorch_does():
    sizes = [1000, 3 * 10**5, 10**6, 7 * 10**6, 10, 5 * 10**6, 2 * 10**6, 10**6, 8 * 10**6, 10]
    meant = dist._compute_bucket_assignment_by_size([torch.empty(n, device="meta") for n in sizes], [2**20, 25 * 2**20])
    assert engine.buckets([4 * n for n in sizes]) == meant[0]
    one, two = (engine.traced(small(), Layout(**NODE | {"devices": n})) for n in (1, 2))
    parameters = small().parameters
    assert two.at_rest == one.at_rest + 4 * parameters
    assert sum(e.size for e in two.collectives() if e.name == "DDP.reduce") == 4 * parameters


def test_on_cuda_a_norm_keeps_its_input_alone():
    changes = {"network.channels": 128, "network.groups": 8}
    kept = {}
    for device in ("cpu", "cuda"):
        trace = engine.traced(workloads.load("digits", changes), Layout(batch=4, precision="fp32", device=device))
        kept[device] = trace.after_forward
    assert kept["cuda"] < kept["cpu"]


def test_an_operation_is_made_again_as_it_was():
    trace = engine.traced(small(), Layout(**NODE), keys=True)
    keys = {e.key for e in trace.events if e.flops}
    for key in keys:
        func, args, kwargs = rebuilt(key)
        func(*args, **kwargs)
    assert len(keys) > 10


# timelines


class Clock:
    """Seconds are written in the events: of operations as FLOPs, of collectives as bytes."""

    launch = 0.0

    def seconds(self, event):
        return event.flops


class Links:
    def seconds(self, kind, size, per_node, nodes):
        return size


def run(events, layout=None, overlap=True):
    return timeline.simulate(Trace(events), layout or Layout(devices=8, shard="full"), Clock(), Links(), overlap)


def work(seconds, phase="forward", waits=()):
    return Event("matmul", "", phase, seconds, 1, waits=waits)


def test_a_block_is_gathered_while_the_one_before_it_is_computed():
    events = [Event(GATHER, "", "forward", size=2), work(5, waits=(0,)),
              Event(GATHER, "", "forward", size=3), work(5, waits=(1,))]  # fmt: skip
    assert run(events).step == 2 + 5 + 5  # the second is hidden
    assert run(events, overlap=False).step == 2 + 5 + 3 + 5
    slow = [*events[:2], Event(GATHER, "", "forward", size=9), events[3]]
    found = run(slow)
    assert (found.step, found.computing, found.moving, found.exposed) == (2 + 9 + 5, 10, 11, 6)


def test_no_more_than_two_blocks_are_gathered_ahead():
    fast = [e for i in range(4) for e in (Event(GATHER, "", "forward", size=1), work(10, waits=(i,)))]
    assert run(fast).step == 1 + 4 * 10
    late = [Event(GATHER, "", "forward", size=1), Event(GATHER, "", "forward", size=1), work(10, waits=(0,)),
            Event(GATHER, "", "forward", size=30), work(1, waits=(1,)), work(1, waits=(2,))]  # fmt: skip
    assert run(late).step == 1 + 10 + 30 + 1  # the third waits until the first was taken out of its buffer, at 11


def test_gradients_are_scattered_behind_the_backward_pass():
    def scatter(size):
        return Event(SCATTER, "", "backward", size=size)

    assert run([work(5, "backward"), scatter(3), work(5, "backward"), scatter(3)]).step == 5 + 5 + 3
    # the second buffer is not filled before the first is sent
    assert run([work(1, "backward"), scatter(20), work(1, "backward"), scatter(1), work(4, "backward")]).step == 21 + 4


def test_ddp_reduces_behind_the_backward_pass_and_all_wait_before_the_update():
    reduce = Event(REDUCE, "DDP.reduce", "backward", size=4)
    agreement = Event(REDUCE, "agreement", "update", size=1)
    events = [work(3), work(3, "backward"), reduce, work(3, "backward"), reduce, agreement, work(2, "update")]
    assert run(events, Layout(devices=8)).step == 3 + 3 + 4 + 4 + 1 + 2


def test_copies_across_machines_have_links_of_their_own():
    layout = Layout(devices=16, per_node=8, shard="hybrid")
    events = [work(2, "backward"), Event(SCATTER, "", "backward", size=3), Event(REDUCE, "", "backward", size=9),
              work(2, "backward"), Event(SCATTER, "", "backward", size=3)]  # fmt: skip
    assert run(events, layout).step == 2 + 3 + 9  # beside which the second is scattered
    assert timeline.place(events[1], layout) == (8, 1)
    assert timeline.place(events[2], layout) == (1, 2)
    assert timeline.place(events[1], Layout(devices=16, per_node=8, shard="full")) == (8, 2)


def test_a_host_that_starts_operations_slowly_is_waited_for():
    clock = Clock()
    clock.launch = 4.0
    found = timeline.simulate(Trace([work(1)] * 5), Layout(), clock, None)
    assert found.step == 5 * 4 + 1


# failures


def test_youngs_interval_is_where_the_least_is_lost():
    C, M = 20.0, 40_000.0
    grid = [failures.best(C, M) * x / 1000 for x in range(200, 5000)]
    assert min(grid, key=lambda T: failures.first_order(T, C, M, 600)) == pytest.approx(failures.best(C, M), rel=2e-3)
    exact = min(grid, key=lambda T: failures.wasted(T, C, M, 600))
    assert exact == pytest.approx(failures.best(C, M), rel=0.02)
    loss = failures.wasted(exact, C, M, 600)
    assert failures.wasted(failures.best(C, M), C, M, 600) == pytest.approx(loss, rel=1e-3)
    assert failures.first_order(exact, C, M, 600) == pytest.approx(loss, rel=0.03)


def test_what_is_lost_is_what_random_failures_take():
    T, C, M, R = 300.0, 30.0, 2000.0, 100.0
    generator = torch.Generator().manual_seed(0)
    now = saved = 0.0
    fails = iter(torch.empty(200_000).exponential_(1 / M, generator=generator).cumsum(0).tolist())
    next_failure, down = next(fails), 0.0
    while saved < 20_000:
        end = now + down + T + C
        if next_failure < end:
            now, down = next_failure, R
            next_failure = next(fails)
        else:
            now, down, saved = end, 0.0, saved + 1
    assert 1 - saved * T / now == pytest.approx(failures.wasted(T, C, M, R), rel=0.02)


def test_the_mean_time_between_failures_is_llama_3s():
    apart = failures.mean_time(16_384, planning.OF_DEVICE)
    assert 54 * 86400 / apart == pytest.approx(419)
    assert failures.lost_a_day(3600.0, 0.0, apart) == pytest.approx(419 / 54 * 1800)


# what was published


def test_dit_has_the_published_flops_and_the_measured_utilisation():
    parameters, forward, both = published.counted("dit-xl-2", {}, (4, 32, 32))
    assert parameters == 674_834_720
    assert forward / 2 == pytest.approx(118.64e9, rel=1e-3)
    assert 389 * both / machines.DEVICES["h200"].peak == pytest.approx(machines.UTILISATION, abs=0.005)


def test_adm_has_the_published_size_and_flops():
    model = published.MODELS["ADM 64"]
    parameters, _, both = published.counted(model.recipe, model.changes, model.shape)
    assert parameters / 1e6 == pytest.approx(model.millions, abs=0.5)
    assert 0.93 < both / model.flops < 1  # up-sampling and its convolution are one operation, of fewer multiplications


def test_llamas_collectives_are_hidden_on_a_fast_network_and_not_on_a_slow_one():
    fast = published.llama_seconds(8, 2.8, machines.HGX)
    assert 2.8 < fast < 2.85
    slow = collectives.Network(inside=10e9, between=1e9)
    moved = 2 * 2 + 4  # bytes of a parameter: gathered twice in bf16, scattered in float32
    assert published.llama_seconds(8, 2.8, slow) > 7 / 8 * moved * 8.03e9 / 10e9


# the plan, and what people see


def test_a_plan_has_a_row_for_everything(monkeypatch):
    monkeypatch.setattr(planning, "SIZES", (1, 16))
    monkeypatch.setattr(planning, "FIXED", (16,))
    monkeypatch.setattr(planning, "GLOBAL", 64)
    monkeypatch.setattr(planning, "MODELS", {"small": {}})
    monkeypatch.setattr(planning, "BATCH", {"small": 4})
    monkeypatch.setattr(published, "encoder_flops", lambda: 1e9)
    traces = planning.Traces(lambda _: small(**{"network.depth": 1}), {})
    text = planning.plan("h100", traces)
    assert text.count("| small | 16 |") == 3 + 3 + 3  # memory and time of each way of sharding; plan, failures, data
    assert text.count("does not fit") == 0
    tight = machines.Device("tight", 1e12, 1e12, 8 * small().parameters, machines.HGX, 0.0, 1.0, "")
    assert planning.chosen(traces, "small", 1, tight) is None
    layout, _ = planning.chosen(traces, "small", 16, machines.device("h100"))
    assert traces.of("small", layout).peak < 80e9


def test_checkpoints_are_written_by_those_who_hold_them():
    assert planning.write_seconds(40e9, Layout(devices=64)) == 20
    assert planning.write_seconds(40e9, Layout(devices=64, shard="hybrid")) == 20
    assert planning.write_seconds(40e9, Layout(devices=64, shard="full")) == 2.5
    assert planning.write_seconds(40e9, Layout(devices=1024, shard="full")) == 0.4  # what storage takes of all


def test_a_section_of_a_document_is_replaced(tmp_path):
    path = tmp_path / "plan.md"
    path.write_text("before\n<!-- a -->\nold\n<!-- /a -->\nafter\n")
    tables.write(path, "a", "new")
    assert path.read_text() == "before\n<!-- a -->\nnew\n<!-- /a -->\nafter\n"
    with pytest.raises(fn.FromNoiseError, match="no section"):
        tables.write(path, "b", "new")


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a command line: (its status, what it printed, what it complained of)."""
    import scale

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["scale.py", *args])
        status = scale.main()
        return status, *capsys.readouterr()

    return run


def test_show_says_what_a_recipe_costs(command):
    status, printed, _ = command("show", "digits-dit", "--devices", "2", "--shard", "full", "--batch", "4",
                                 "--set", "network.width=96")  # fmt: skip
    lines = dict(line.split("  ", 1) for line in printed.splitlines() if not line.startswith(" "))
    assert status == 0
    parameters = int(lines["parameters"].split()[0].strip(",").replace(",", ""))
    assert parameters == workloads.load("digits-dit", {"network.width": 96}).parameters
    assert "weights in 2 parts" in lines["spread"]


def test_help_needs_no_torch():
    done = subprocess.run([sys.executable, "-X", "importtime", str(BENCHMARKS / "scale.py"), "--help"],
                          capture_output=True, text=True)  # fmt: skip
    assert "plan" in done.stdout
    assert " torch\n" not in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("show", "digit"), "did you mean digits"),
        (("show", "control"), "calls other networks"),
        (("show", "digits", "--devices", "12"), "do not fill machines of 8"),
        (("show", "digits", "--batch", "3", "--accumulate", "2"), "does not divide"),
        (("show", "digits", "--device", "abacus"), "choose from h100, h200"),
        (("show", "digits", "--set", "network.width"), "must be KEY=VALUE"),
        (("show", "digits", "--set", "network.widht=3"), "widht"),
        (("plan", "--write", "nowhere.md"), "nowhere.md"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(args, said, monkeypatch, command):
    monkeypatch.setattr(planning, "plan", lambda *_: "")
    status, _, complained = command(*args)
    assert status == 2
    assert said in complained
    assert len(complained.strip().splitlines()) == 1


def test_times_and_sizes_are_written_as_people_read_them():
    assert [tables.seconds(x) for x in (0.0012, 5.0, 600.0, 7200.0, 9 * 86400.0)] == [
        "1.2 ms",
        "5 s",
        "10 min",
        "2 h",
        "9 days",
    ]
    assert [tables.gigabytes(x) for x in (1500, 2.5e6, 3e9, 16e12)] == ["1.5 kB", "2.5 MB", "3 GB", "16 TB"]
