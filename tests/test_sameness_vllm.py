"""A real vLLM server, restarted with the same weights and with others."""

import pytest

from tests.vllm_server import free_port, serving

pytestmark = pytest.mark.vllm


def test_a_server_restarted_with_other_weights_is_refused(smollm2, damaged, library, tmp_path, personaeval):
    port = free_port()
    command = ["run", "-m", f"openai:m@http://127.0.0.1:{port}/v1", "-t", "sums", "-p", "few", "--include", library]
    command += ["-o", tmp_path / "results", "--max-tokens", "16"]
    with serving(smollm2, "m", port, "float32"):
        first = personaeval(*command, "--limit", "3")
        assert first.returncode == 0, first.stderr
        again = personaeval(*command, "--limit", "4")
        assert again.returncode == 0, again.stderr
        assert "sameness" not in again.stderr
    with serving(damaged, "m", port, "float32"):
        refused = personaeval(*command, "--limit", "4")
        assert refused.returncode == 2
        assert "fixed prompts begin otherwise" in refused.stderr
        versioned = personaeval(*command, "--limit", "3", "--model-version", "damaged")
        assert versioned.returncode == 0, versioned.stderr
