"""A chat endpoint that speaks the OpenAI protocol, wherever it runs, with retries and a cache on disk."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from driving.files import read_json, write_json

RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP states after which another try may succeed."""


class EndpointError(RuntimeError):
    """The endpoint gave no usable reply; the message says what it was asked and what came back."""


@dataclass(frozen=True)
class Endpoint:
    """Where and how to ask.

    Attributes:
        base_url: Up to and including the version, e.g. ``http://localhost:8000/v1``.
        model: Name the server knows.
        api_key: Sent as a bearer token when not empty.
        temperature: Of the sampling.
        timeout_s: For one request, seconds.
        tries: Requests before giving up.
        pause_s: Before the second try, seconds; doubles with each further one.
    """

    base_url: str
    model: str
    api_key: str = ""
    temperature: float = 0.6
    timeout_s: float = 120.0
    tries: int = 5
    pause_s: float = 1.0

    def complete(self, messages: Sequence[Mapping[str, str]], sleep: Callable[[float], None] = time.sleep) -> str:
        """The text of one reply.

        Args:
            messages: ``role`` and ``content`` of each.
            sleep: Waits between tries.

        Raises:
            EndpointError: If every try failed or the server refuses the request.
        """
        trouble = ""
        for attempt in range(self.tries):
            if attempt:
                sleep(self.pause_s * 2 ** (attempt - 1))
            try:
                return self._text(self._post(messages))
            except urllib.error.HTTPError as error:
                trouble = f"HTTP {error.code} {error.reason}"
                if error.code not in RETRIED_STATUS:
                    break
            except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
                trouble = str(error)
        raise EndpointError(
            f"no reply from {self.base_url} for model {self.model!r} after {self.tries} tries: {trouble}; "
            "check --base-url, --model and the API key"
        )

    def _post(self, messages: Sequence[Mapping[str, str]]) -> Any:
        body = {"model": self.model, "temperature": self.temperature, "messages": list(messages)}
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        request = urllib.request.Request(
            f"{self.base_url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers, method="POST"
        )
        with urllib.request.urlopen(request, timeout=self.timeout_s) as reply:
            return json.loads(reply.read())

    @staticmethod
    def _text(reply: Any) -> str:
        try:
            text = reply["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"reply without choices[0].message.content: {str(reply)[:200]}") from error
        if not isinstance(text, str) or not text.strip():
            raise ValueError("empty reply")
        return text


@dataclass(frozen=True)
class CachedEndpoint:
    """An endpoint that asks for each text once.

    Attributes:
        endpoint: Where to ask.
        folder: One file per question and model.
    """

    endpoint: Endpoint
    folder: Path

    def complete(self, messages: Sequence[Mapping[str, str]]) -> str:
        """As `Endpoint.complete`; a reply is written down before it is used."""
        question = json.dumps([self.endpoint.model, self.endpoint.temperature, list(messages)], sort_keys=True)
        path = self.folder / f"{sha256(question.encode()).hexdigest()[:32]}.json"
        if path.is_file():
            return read_json(path)["reply"]
        reply = self.endpoint.complete(messages)
        write_json(path, {"model": self.endpoint.model, "messages": list(messages), "reply": reply})
        return reply
