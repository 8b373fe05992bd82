"""`make mutants`: break the shipped code in one place at a time; the tests must notice every time.

Each mutant is a copy of src with one change, on which the tests of the mathematics run until one fails. The last line is
"N mutants, N killed"; the exit status is 1 if any survives. Some minutes on two cores.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from mutants import MUTANTS

ROOT = Path(__file__).parents[2]
TESTS = [  # quick ones first: most mutants die in the first seconds
    "tests/test_gaussian.py", "tests/test_variance.py", "tests/contracts/test_parameterizations.py",
    "tests/contracts/test_times.py", "tests/contracts/test_spacings.py", "tests/reference/test_tables.py", "tests/contracts/test_schedules.py",
    "tests/test_weights.py", "tests/test_likelihood.py", "tests/contracts/test_objectives.py", "tests/test_verify.py",
    "tests/test_oracle.py", "tests/contracts/test_samplers.py", "tests/test_text.py", "tests/test_second_device.py",
]  # fmt: skip
TRUST = ["tests/test_files.py", "tests/cli/test_trust.py"]
DISTILL = ["tests/test_distill.py", "tests/test_verify.py", "tests/contracts/test_samplers.py"]
UNCLIP = ["tests/compose/test_unclip.py"]
PARTS = ["tests/train/test_parts.py"]
SHARDED = ["tests/train/test_sharded.py"]
FAILURES = ["tests/train/test_failures.py"]
WORDS = ["tests/test_text.py", "tests/cli/test_words.py"]
ENCODE = ["tests/compose/test_latent.py", "tests/cli/test_encode.py"]
OTHERS = {  # tests of what is not the mathematics of diffusion
    "system/disk/files.py": TRUST,
    "distill/": DISTILL,
    "parameterizations/students/": DISTILL,
    "samplers/consistency.py": DISTILL,
    "samplers/mean_flow.py": DISTILL,
    "guidance/scale_told.py": DISTILL,
    "nn/text/": WORDS,
    "nn/words.py": WORDS,
    "nn/spatial_transformer.py": WORDS,
    "nn/image_text.py": WORDS,
    "guidance/image_text.py": WORDS,
    "compose/unclip.py": UNCLIP,
    "data/embedded.py": UNCLIP,
    "guidance/classifier.py": ["tests/test_guidance.py", "tests/test_verify.py", *WORDS],
    "guidance/steering.py": ["tests/test_guidance.py", *WORDS],
    "data/worded.py": WORDS,
    "data/latents.py": ENCODE,
    "data/precomputed.py": ENCODE,
    "data/kept_text.py": ENCODE,
    "app/encoding/": ENCODE,
    "app/runs/latents.py": ENCODE,
    "app/runs/examples.py": ENCODE,
    "train/encoded.py": ENCODE,
    "system/disk/claims.py": ["tests/test_cluster_claims.py"],
    "train/contrast.py": ["tests/train/test_held_out.py", *WORDS],
    "recipes/diffusion.py": [*TRUST, *WORDS],
    "app/runs/plan.py": [*WORDS, *TRUST],
    "app/evaluation/_agreement.py": WORDS,
    "train/by_level.py": ["tests/train/test_by_level.py"],
    "app/studio/": ["tests/studio/test_serving.py"],
    "app/studio/works/": ["tests/studio/test_works.py"],
    "app/studio/frames.py": ["tests/studio/test_works.py"],
    "app/studio/trainings.py": ["tests/studio/test_trainings.py"],
    "app/tracking/studio.py": ["tests/studio/test_trainings.py"],
    "system/disk/films.py": ["tests/test_films.py"],
    "system/hardware/recording.py": ["tests/test_recording.py"],
    "system/disk/storage.py": TRUST,
    "system/disk/placing.py": [*TRUST, *PARTS],
    "system/disk/in_parts.py": [*PARTS, *SHARDED],
    "train/sharding.py": SHARDED,
    "train/trained.py": [*SHARDED, "tests/train/test_trainer.py"],
    "train/saving.py": [*PARTS, *SHARDED],
    "train/optimizers/exchange.py": SHARDED,
    "train/pulse.py": FAILURES,
    "train/stragglers.py": FAILURES,
    "train/distributed.py": FAILURES,
    "app/cli/_training.py": FAILURES,
    "app/cli/_interrupts.py": ["tests/cli/test_interrupts.py"],
    "system/disk/holding.py": TRUST,
    "system/disk/room.py": ["tests/reference/test_pipelines.py"],
    "registry/registering.py": TRUST,
    "app/runs/": TRUST,
    "app/runs/starting.py": ["tests/cli/test_control_runs.py"],
    "recipes/controlled.py": ["tests/cli/test_control_runs.py"],
    "nn/control.py": ["tests/nn/test_control.py"],
    "nn/conditioning.py": [*UNCLIP, "tests/test_text.py", "tests/test_distill.py", "tests/nn", "tests/reference"],
    "data/computed.py": ["tests/data/test_edges.py"],
    "app/runs/model.py": ["tests/data/test_pairs.py", *TRUST],
    "recipes/": TRUST,
    "train/suitable.py": ["tests/train/test_pipeline.py", *TRUST],
    "train/log.py": ["tests/test_cluster_log.py", *TRUST, "tests/train/test_trainer.py"],
    "system/disk/lines.py": ["tests/test_cluster_log.py"],
    "train/signals.py": ["tests/test_cluster_slurm.py"],
    "train/alike.py": ["tests/test_cluster_alike.py"],
    "app/studio/curves.py": ["tests/test_cluster_log.py"],
    "app/evaluation/parts.py": ["tests/evaluation", "tests/test_cluster_evaluation.py"],
    "app/evaluation/_summaries.py": ["tests/test_cluster_evaluation.py", "tests/evaluation"],
    "app/evaluation/_table.py": ["tests/evaluation", "tests/test_cluster_evaluation.py"],
    "train/ema.py": [*TRUST, "tests/train/test_trainer.py"],
    "nn/_budget.py": TRUST,
    "weights/native.py": TRUST,
    "weights/pipelines.py": ["tests/reference/test_pipelines.py", "tests/reference/test_pipeline_mistakes.py"],
    "weights/unet_options.py": ["tests/reference/test_pipelines.py", "tests/reference/test_pipeline_mistakes.py"],
    "weights/schedulers.py": ["tests/reference/test_pipelines.py", "tests/reference/test_pipeline_mistakes.py"],
    "weights/parts.py": ["tests/reference/test_pipelines.py", "tests/reference/test_pipeline_mistakes.py"],
    "weights/latent_parts.py": ["tests/reference/test_latent_pipelines.py"],
    "weights/openai.py": ["tests/reference/test_openai_weights.py"],
    "weights/formats/openai.py": ["tests/reference/test_openai_weights.py"],
    "weights/formats/dit.py": ["tests/reference/test_dit_files.py"],
    "weights/dit.py": ["tests/reference/test_dit_files.py", "tests/reference/test_dit_weights.py"],
    "weights/autoencoder_kl.py": [
        "tests/reference/test_latent_pipelines.py",
        "tests/reference/test_autoencoder_weights.py",
    ],
    "schedules/rectified.py": ["tests/contracts/test_schedules.py", "tests/reference/test_dit_files.py"],
    "parameterizations/flow.py": ["tests/reference/test_dit_files.py"],
    "nn/half_unet.py": ["tests/reference/test_openai_weights.py"],
    "weights/lora.py": ["tests/reference/test_pipeline_mistakes.py"],
    "weights/hub.py": ["tests/hub"],
    "system/disk/hub.py": ["tests/hub"],
    "weights/pipeline_writing.py": ["tests/reference/test_pipelines.py"],
    "weights/diffusers.py": ["tests/reference/test_pipelines.py"],
    "weights/edm.py": ["tests/reference/test_edm_weights.py"],
    "weights/formats/edm.py": ["tests/reference/test_edm_weights.py"],
    "weights/pickles.py": ["tests/test_pickles.py"],
    "weights/persistent.py": ["tests/test_pickles.py"],
    "metrics/": ["tests/metrics", "tests/reference/test_fidelity.py"],
    "app/evaluation/": ["tests/evaluation"],
    "train/conditions.py": ["tests/train/test_labels.py", "tests/train/test_fit.py", *WORDS],
    "train/classify.py": ["tests/train/test_tasks.py"],
    "train/autoencode.py": ["tests/train/test_tasks.py"],
    "train/optimizers/": ["tests/train/test_optimizer.py", "tests/train/test_muon.py"],
    "train/optimizers/wrapped.py": ["tests/train/test_optimizer.py", "tests/train/test_frozen.py"],
    "train/trainer.py": [
        "tests/train/test_frozen.py",
        "tests/train/test_fit.py",
        "tests/train/test_trainer.py",
        *FAILURES,
        *SHARDED,
    ],
    "train/lr_schedules/": ["tests/train/test_fit.py"],
    "train/validation.py": ["tests/train/test_held_out.py", "tests/train/test_fit.py", *SHARDED],
    "weights/checkpoint.py": [*TRUST, *PARTS, *SHARDED, "tests/train/test_fit.py"],
    "metrics/features/": ["tests/features/test_efficientnet.py"],
    "data/feed.py": [
        "tests/data/test_warnings.py",
        "tests/data/test_data.py",
        "tests/train/test_loader_signals.py",
        "tests/train/test_pipeline.py",
        "tests/data/test_pairs.py",
        "tests/data/test_edges.py",
    ],
    "data/_lanes.py": ["tests/data/test_stream_order.py"],
    "data/_remote.py": ["tests/data/test_stream_remote.py"],
    "data/_cache.py": ["tests/data/test_stream_remote.py"],
    "data/_ahead.py": ["tests/data/test_stream_remote.py", "tests/data/test_stream.py"],
    "data/_opening.py": ["tests/data/test_stream.py"],
    "data/_scanned.py": ["tests/data/test_stream.py"],
    "data/_shard.py": ["tests/data/test_stream.py"],
    "data/_shardlist.py": ["tests/data/test_stream.py"],
    "data/_counting.py": ["tests/data/test_stream.py"],
    "data/shard_index.py": ["tests/data/test_stream.py", "tests/data/test_stream_remote.py"],
    "data/streamed.py": ["tests/data/test_stream.py"],
    "data/": [
        "tests/data/test_folders.py",
        "tests/data/test_archives.py",
        "tests/data/test_pairs.py",
        "tests/data/test_remembered.py",
        "tests/data",
        "tests/train/test_fit.py",
    ],
    "data/augment.py": ["tests/data/test_augment.py", "tests/train/test_augmented.py"],
    "data/paired.py": ["tests/data/test_paired.py"],
    "train/diffusion.py": [
        "tests/train/test_by_level.py",
        "tests/contracts/test_couplings.py",
        "tests/train/test_augmented.py",
        "tests/test_distill.py",
    ],
    "couplings/": ["tests/contracts/test_couplings.py"],
    "paths.py": ["tests/test_paths.py"],
    "app/evaluation/_paths_table.py": ["tests/evaluation/test_paths_table.py"],
    "app/figures.py": ["tests/evaluation/test_paths_table.py"],
    "verify/straight.py": ["tests/test_verify.py"],
    "weights/graphs/": ["tests/test_export.py"],
    "guidance/": ["tests/test_guidance.py", "tests/test_verify.py"],
    "augmentations/": ["tests/contracts/test_augmentations.py"],
    "augmentations/low_res.py": ["tests/contracts/test_augmentations.py"],
    "compose/": ["tests/compose"],
    "editing.py": ["tests/test_editing.py", "tests/cli/test_edit.py"],
    "langevin.py": ["tests/test_langevin.py", "tests/test_verify.py"],
    "samplers/annealed": ["tests/test_langevin.py", "tests/contracts/test_samplers.py"],
    "likelihood/_ode.py": ["tests/test_flow.py"],
    "nn/": [
        "tests/nn",
        "tests/test_text.py",
        "tests/reference/test_dit_weights.py",
        "tests/reference/test_autoencoder_weights.py",
        "tests/test_costs.py",
    ],
    "flow.py": ["tests/test_flow.py", "tests/test_verify.py"],
}


def tests_of(file: str) -> list[str]:
    """Those that must notice a change in `file`."""
    fitting = [start for start in OTHERS if file.startswith(start)]
    return OTHERS[max(fitting, key=len)] if fitting else TESTS


def survives(mutant: tuple[str, ...] | None, tests: list[str], *options: str) -> tuple[bool, str]:
    """Whether every test passes on the mutant (None: on the code as it is), and which test failed first.

    Raises:
        RuntimeError: the tests could not be run, so that nothing is known.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "src")
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        if mutant is not None:
            file, right, wrong = mutant[:3]
            path = source / "fromnoise" / file
            text = path.read_text(encoding="utf-8")
            if text.count(right) != 1:
                raise RuntimeError(f"{file}: {_line(right)} stands there {text.count(right)} times; mend mutants.py")
            path.write_text(text.replace(right, wrong), encoding="utf-8")
        env = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "--no-header",
            "--tb=no",
            "--timeout=180",
            "-m",
            "not long",
            *options,
            *tests,
        ]
        try:
            done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900)
        except subprocess.TimeoutExpired:
            return False, "the tests did not end"
        if done.returncode not in (0, 1):
            raise RuntimeError(f"pytest could not run: {done.stdout[-300:]}{done.stderr[-300:]}")
        by = next((line for line in done.stdout.splitlines() if line.startswith("FAILED")), "")
        return done.returncode == 0, by.split(" - ")[0].removeprefix("FAILED ")


def main() -> int:
    chosen = [m for m in MUTANTS if not sys.argv[1:] or any(word in " ".join(m) for word in sys.argv[1:])]
    real, equivalent = [m for m in chosen if len(m) == 3], [m for m in chosen if len(m) == 4]
    needed = dict.fromkeys(test for file, *_ in real for test in tests_of(file))
    healthy, said = survives(None, list(needed), "-n", str(os.cpu_count() or 2))
    if not healthy:
        print(f"the tests fail on the code as it is: {said}")
        return 2
    killed, started = 0, time.monotonic()
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2))) as pool:
        found = pool.map(lambda mutant: survives(mutant, tests_of(mutant[0])), real)
        for i, (mutant, (alive, said)) in enumerate(zip(real, found, strict=True), 1):
            killed += not alive
            left = (time.monotonic() - started) * (len(real) - i) / i
            mark = "SURVIVES" if alive else "killed  "
            print(f"[{i}/{len(real)}, {left / 60:.1f} min left] {mark} {mutant[0]}: {_line(mutant[1])} -> {_line(mutant[2])}   {said}",
                  flush=True)  # fmt: skip
    for file, right, wrong, why in equivalent:
        print(f"equivalent: {file}: {_line(right)} -> {_line(wrong)}   {why}")
    print(f"{len(real)} mutants, {killed} killed")
    return 0 if killed == len(real) else 1


def _line(code: str) -> str:
    return " ".join(code.split()) or "(nothing)"


if __name__ == "__main__":
    raise SystemExit(main())
