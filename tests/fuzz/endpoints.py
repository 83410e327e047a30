"""Calls of the app's endpoints over HTTP, with values of every type for every argument, files and recipes too."""

import json
import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import audio
import httpx
import midi
from checkpoints import SOURCES
from damage import VALUES, damaged, damaged_value, replaced
from promises import check, check_refusal

from waveletgpt.app.recipe import _pack, from_word

sys.path.append(str(Path(__file__).parents[1] / "helpers"))
from tiny import write_tiny

LENGTHS = {"text": 50, "audio": 0.1, "music": 50}
LARGEST_MEMORY = 3 << 30
"""Bytes that the server may hold. It begins with about 0.6 GB."""
PLACES = ("/call/{}", "/call/{}", "/call/{}", "/call/nowhere", "/run/{}", "/queue/join", "/call/{}/x")


class Kind:
    """Calls a server that runs in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.checkpoints = folder, folder / "checkpoints"
        for modality, (_, tokenizer, _) in SOURCES.items():
            for mixer in ("none", "haar"):
                write_tiny(self.checkpoints / f"{modality}-{mixer}", modality, tokenizer, mixer)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.log = folder / "log"
        command = [sys.executable, "-m", "waveletgpt", "app", "--port", str(port)]
        with self.log.open("wb") as log:
            self.server = subprocess.Popen(
                [*command, "--checkpoints", str(self.checkpoints)], stdout=log, stderr=log, cwd=folder
            )
        base, once = f"http://127.0.0.1:{port}/gradio_api", httpx.Limits(max_keepalive_connections=0)
        self.client = httpx.Client(base_url=base, timeout=50, limits=once)
        while b"is open on" not in self.log.read_bytes() and self.server.poll() is None:
            time.sleep(0.1)
        self.info = self.client.get("/info").json()["named_endpoints"]
        self.recipes = [self._recipe(modality) for modality in SOURCES]

    def __del__(self) -> None:
        self.server.terminate()
        self.server.wait()

    def run(self, random: Random) -> str:
        """Call one endpoint and check its answer, the log and the server."""
        before = self.log.stat().st_size
        name = random.choice(list(self.info))
        place = random.choice(PLACES) if random.random() < 0.2 else PLACES[0]
        data = self._arguments(name.removeprefix("/"), random)
        if random.random() < 0.05:
            data = random.choice((data[:-1], [*data, None], [], damaged_value(data, random)))
        body: Any = {"data": data, "fn_index": random.choice((0, 3, 999, -1))} if "join" in place else {"data": data}
        raw = json.dumps(damaged_value(body, random) if random.random() < 0.03 else body).encode()
        read = self._call(place.format(name.removeprefix("/")), damaged(raw, random) if random.random() < 0.03 else raw)
        log = self.log.read_bytes()[before:].decode(errors="replace")
        check("Traceback" not in log, log[-1000:])
        check(self.server.poll() is None, f"the server has ended with status {self.server.poll()}: {log[-500:]}")
        memory = int(Path(f"/proc/{self.server.pid}/statm").read_text("utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        check(memory < LARGEST_MEMORY, f"the server holds {memory / 1e9:.1f} GB")
        return "read" if read else "refused"

    def _call(self, place: str, raw: bytes) -> bool:
        """Whether a call is answered with results, which are checked. A refusal is checked too."""
        answer = self.client.post(place, content=raw, headers={"content-type": "application/json"})
        check("json" in answer.headers["content-type"], f"status {answer.status_code}: {answer.text[:300]}")
        content = answer.json()
        if "event_id" not in content:
            if answer.status_code == 200:
                return self._checked(content.get("data"))
            if answer.status_code != 422:  # FastAPI's description of JSON that has another form
                check_refusal(str(content.get("error") or content.get("detail")), str(self.folder))
            return False
        if "/call/" not in place:
            return True
        events = self.client.get(f"{place}/{content['event_id']}").text
        last = events.strip().rpartition("event: ")[2]
        kind, _, data = last.partition("\ndata: ")
        if kind == "complete":
            return self._checked(json.loads(data))
        check(kind == "error", f"ends with {last[:300]}")
        check_refusal(str(json.loads(data)["error"]), str(self.folder), str(Path(__file__).parents[2]))
        return False

    def _checked(self, answer: Any) -> bool:
        """True. Raises BrokenPromiseError unless an answer is sane."""
        check(isinstance(answer, list), f"answer {str(answer)[:200]}")
        for one in answer:
            if isinstance(one, dict):
                bits = one["bits_per_token"]
                check(math.isfinite(bits) and bits >= 0, f"{bits} bits per token")
                check(one["tokens"] > 0, f"{one['tokens']} tokens")
        return True

    def _arguments(self, name: str, random: Random) -> list[Any]:
        """A value for each argument of an endpoint: most of the time one that is right."""
        values = []
        modality = name.removeprefix("generate_")
        odd = random.choice((0, 0, 0.1, 0.1, 0.5))  # of all arguments
        for parameter in self.info[f"/{name}"]["parameters"]:
            label, value = parameter["parameter_name"], parameter["parameter_default"]
            if label == "length":
                value = LENGTHS[modality]
            elif label == "checkpoint":
                value = random.choice(sorted(path.name for path in self.checkpoints.iterdir()))
            elif label == "text" or (label == "prompt" and modality == "text"):
                value = random.choice(("", "abc def", "abc\r\n“é”", "x" * 70_000, "abc \0", "😀"))
            elif label in ("prompt", "file") and random.random() < 0.4:
                value = self._upload(random)
            elif label == "recipe" and random.random() < 0.15:
                value = self._spoiled_recipe(random)
            values.append(replaced(value, random) if random.random() < odd else value)
        return values

    def _upload(self, random: Random) -> Any:
        """An uploaded sound or MIDI file, whole or damaged, or one that was not uploaded."""
        meta = {"_type": "gradio.FileData"}
        if random.random() < 0.2:
            path = random.choice(("x.wav", "/etc/passwd", "", "..", "log", "a\0b", "http://127.0.0.1:1/x", "x" * 5000))
            return {"path": path, "meta": meta}
        if random.random() < 0.5:
            built = midi.build(random)
            name, data = "piece.mid", built.data if random.random() < 0.3 else midi.spoiled(built.data, random)
        else:
            path = self.folder / "sound"
            audio.build(path, random)
            name, data = "sound.wav", path.read_bytes() if random.random() < 0.3 else damaged(path.read_bytes(), random)
        (there,) = self.client.post("/upload", files={"files": (name, data)}).json()
        return {"path": there, "meta": meta}

    def _recipe(self, modality: str) -> str:
        """The recipe of a result."""
        label = f"generate_{modality}"
        values = [p["parameter_default"] for p in self.info[f"/{label}"]["parameters"]]
        values[4] = LENGTHS[modality]
        event = self.client.post(f"/call/{label}", json={"data": values}).json()["event_id"]
        data = self.client.get(f"/call/{label}/{event}").text.strip().rpartition("data: ")[2]
        return str(json.loads(data)[0]["recipe"])

    def _spoiled_recipe(self, random: Random) -> Any:
        """A recipe that is whole, cut, or holds other values."""
        word = random.choice(self.recipes)
        if random.random() < 0.2:
            return word
        if random.random() < 0.3:
            return damaged(word.encode(), random).decode("latin-1")
        content = [one and one.to_dict() for one in from_word(word)]
        content = damaged_value(content, random) if random.random() < 0.9 else random.choice(VALUES)
        return _pack(json.dumps(content).encode())
