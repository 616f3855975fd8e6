"""Asking a language model: over a real socket, with a server that fails, repeats itself and loses placeholders."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dataset_generation.augmentations import ask
from dataset_generation.augmentations.ask import extend_table, messages_for, sentences_in
from dataset_generation.augmentations.check import Rules
from dataset_generation.augmentations.endpoint import CachedEndpoint, Endpoint, EndpointError
from dataset_generation.augmentations.tables import TABLES
from driving.files import read_json, write_json

REPLY = """1. The <OBJECT> is waiting.
2) The car is waiting.
- The <OBJECT> stands there.
"The <OBJECT> keeps waiting."
The <OBJECT> waits.
the <OBJECT> is idle.
"""


@pytest.fixture
def server():
    """A chat server: ``states`` are HTTP states to answer with before it replies; ``asked`` are the bodies it got."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.asked.append((self.path, self.headers.get("Authorization"), body))
            state = self.server.states.pop(0) if self.server.states else 200
            content = json.dumps({"choices": [{"message": {"content": self.server.reply}}]}).encode()
            self.send_response(state)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Keep quiet."""

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.states, made.reply = [], [], REPLY
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def endpoint(server):
    return Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "tiny", api_key="k", pause_s=0.0)


@pytest.fixture
def answers(tmp_path):
    path = tmp_path / "answers.json"
    write_json(path, {"The <OBJECT> waits.": ["The <OBJECT> waits."]})
    return path


def test_request_follows_the_protocol(server, endpoint):
    assert endpoint.complete([{"role": "user", "content": "hello"}]) == REPLY
    path, key, body = server.asked[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer k")
    assert body["model"] == "tiny"
    assert body["messages"] == [{"role": "user", "content": "hello"}]


def test_busy_server_is_asked_again_with_growing_pauses(server, endpoint):
    server.states = [503, 429]
    pauses = []
    assert Endpoint(endpoint.base_url, "tiny", pause_s=1.0).complete([], sleep=pauses.append) == REPLY
    assert pauses == [1.0, 2.0]


def test_refusal_is_not_repeated_and_says_what_to_check(server, endpoint):
    server.states = [401]
    with pytest.raises(EndpointError, match=r"HTTP 401.*API key"):
        endpoint.complete([])
    assert len(server.asked) == 1


def test_absent_server_is_named():
    with pytest.raises(EndpointError, match=r"127\.0\.0\.1:9/v1"):
        Endpoint("http://127.0.0.1:9/v1", "tiny", tries=2, pause_s=0.0).complete([])


def test_empty_reply_is_an_error(server, endpoint):
    server.reply = "  "
    with pytest.raises(EndpointError, match="empty reply"):
        endpoint.complete([])


def test_each_question_is_asked_once(server, endpoint, tmp_path):
    model = CachedEndpoint(endpoint, tmp_path / "cache")
    question = [{"role": "user", "content": "hello"}]
    assert model.complete(question) == model.complete(question) == REPLY
    assert len(server.asked) == 1


def test_reply_is_split_into_bare_sentences():
    assert sentences_in(REPLY)[:4] == [
        "The <OBJECT> is waiting.",
        "The car is waiting.",
        "The <OBJECT> stands there.",
        "The <OBJECT> keeps waiting.",
    ]


def test_prompt_names_the_placeholders():
    text = messages_for("Crash into the <OBJECT> at <LOC>.", Rules(), 9)[1]["content"]
    assert "<LOC>, <OBJECT>" in text
    assert "9 different" in text


def test_only_usable_sentences_are_kept(endpoint, answers):
    harvest = extend_table(TABLES["answers"], answers, endpoint, wanted=10)
    assert read_json(answers)["The <OBJECT> waits."] == [
        "The <OBJECT> waits.",
        "The <OBJECT> is waiting.",
        "The <OBJECT> stands there.",
        "The <OBJECT> keeps waiting.",
    ]
    assert harvest.accepted == 3
    assert [sentence for sentence, _ in harvest.rejected] == ["The car is waiting.", "the <OBJECT> is idle."]


def test_failed_template_leaves_the_others(server, endpoint, tmp_path):
    path = tmp_path / "answers.json"
    write_json(path, {"A <OBJECT> waits.": ["A <OBJECT> waits."], "The <OBJECT> waits.": ["The <OBJECT> waits."]})
    server.states = [400]
    harvest = extend_table(TABLES["answers"], path, endpoint, wanted=4)
    assert [template for template, _ in harvest.failed] == ["A <OBJECT> waits."]
    assert len(read_json(path)["The <OBJECT> waits."]) == 4


def test_command_extends_a_folder_and_asks_nothing_twice(server, answers, monkeypatch, capsys, tmp_path):
    arguments = [
        "ask",
        "--base-url",
        f"http://127.0.0.1:{server.server_port}/v1",
        "--model",
        "tiny",
        "--tables",
        "answers",
    ]
    arguments += ["--folder", str(tmp_path), "--cache", str(tmp_path / "cache"), "--wanted", "9"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert ask.main() == 0
    assert "3 sentences added, 2 refused" in capsys.readouterr().out
    write_json(answers, {"The <OBJECT> waits.": ["The <OBJECT> waits."]})
    assert ask.main() == 0
    assert len(server.asked) == 1


def test_command_names_a_missing_file(monkeypatch, capsys, tmp_path):
    arguments = ["ask", "--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert ask.main() == 2
    assert "python -m dataset_generation.augmentations" in capsys.readouterr().err
