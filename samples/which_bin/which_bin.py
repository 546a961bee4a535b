"""Says which bin: listens to a camera's results and shows each as a color, on a Sense HAT or in the terminal.

    python which_bin.py --broker mqtt://192.168.1.5

Green is compost, blue recycle, red landfill; after a second an orange question mark asks for the next piece.
"""

import argparse
import json
import os
import queue
import signal
import sys
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

# Each bin's color on a Sense HAT, and the number of a terminal's background.
BINS = {
    "compost": ((0, 255, 0), 42),
    "recycle": ((0, 0, 255), 44),
    "recycling": ((0, 0, 255), 44),
    "landfill": ((255, 0, 0), 41),
}
OTHER, ORANGE = ((255, 255, 255), 100), (255, 110, 0)
Result = dict[str, Any]


def main() -> None:
    """Show results until Ctrl-C or SIGTERM: words all of them, lamps the newest for a second."""
    options = arguments()
    hat = sense_hat()
    results: queue.Queue[Result] = queue.Queue(maxsize=1 if hat else 0)
    client = listener(options, results)
    with suppress(KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        client.loop_start()
        while True:
            if hat is None:
                write(results.get())
                continue
            hat.show_letter("?", text_colour=ORANGE)
            hat.clear(BINS.get(results.get()["label"].lower(), OTHER)[0])
            time.sleep(options.seconds)
    client.disconnect()
    if hat is not None:
        hat.clear()


def listener(options: argparse.Namespace, results: "queue.Queue[Result]") -> Client:
    """What connects, and again after each outage; where results are full, the older one makes room."""
    where = urlsplit(options.broker)
    client = Client(CallbackAPIVersion.VERSION2, client_id=options.name)
    if where.scheme == "mqtts":
        try:
            client.tls_set(options.ca, options.cert, options.key)
        except OSError as error:
            sys.exit(f"--ca, --cert or --key cannot be used: {error}")
    if where.username:
        client.username_pw_set(where.username, os.environ.get("WHICH_BIN_PASSWORD"))

    def on_message(_client: Client, _data: Any, message: Any) -> None:
        with suppress(ValueError):
            result = json.loads(message.payload)
            # One without a label is a picture that the camera was not sure about.
            if isinstance(result, dict) and isinstance(result.get("label"), str):
                if results.full():
                    with suppress(queue.Empty):
                        results.get_nowait()
                results.put_nowait(result)

    def say(sentence: str) -> None:
        print(sentence, file=sys.stderr, flush=True)

    def on_connect(_client: Client, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
        if reason.is_failure:
            say(f"{where.hostname} refuses us: {reason}")
        else:
            client.subscribe(options.topic, qos=1)

    def on_disconnect(_client: Client, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
        if reason.is_failure:
            say(f"no connection to {where.hostname}; trying again")

    client.on_message, client.on_connect, client.on_disconnect = on_message, on_connect, on_disconnect
    client.on_subscribe = lambda *_: say(f"listening to {options.topic} at {where.hostname}")
    client.on_connect_fail = lambda *_: say(f"{where.hostname} cannot be reached; trying again")
    client.reconnect_delay_set(1, 30)
    client.connect_async(where.hostname, where.port or (8883 if where.scheme == "mqtts" else 1883))
    return client


def sense_hat() -> Any:
    """The lamps of a Sense HAT, where there are some."""
    try:
        from sense_hat import SenseHat  # type: ignore[import-not-found]

        return SenseHat()
    except (ImportError, OSError):
        return None


def write(result: Result) -> None:
    """Write a result, with its color where stdout is a screen."""
    label, confidence = result["label"], result.get("confidence")
    word = f"{label:10}"
    if sys.stdout.isatty():
        word = f"\033[1;97;{BINS.get(label.lower(), OTHER)[1]}m {label:^10} \033[0m"
    sure = f"{confidence:4.0%}" if isinstance(confidence, float | int) else ""
    print(f"{word} {sure:4}  {result.get('thing') or ''}", flush=True)


def arguments() -> argparse.Namespace:
    """What was asked for; a mistake ends the program with exit code 2."""
    options = parser().parse_args()
    if mistake := mistake_in(options):
        parser().error(mistake)
    return options


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    known = argparse.ArgumentParser(description="Show a camera's results as colors.")
    add = known.add_argument
    add("--broker", default="mqtt://localhost", help="mqtt://HOST:PORT, mqtts:// with TLS, USER@ before HOST")
    add("--topic", default="gtlabel/+/infer", help="where results are published; + stands for any camera")
    add("--name", default="", help="client id; AWS IoT Core wants the thing's name")
    add("--ca", help="file with the CA of a broker with TLS, where the system does not know it")
    add("--cert", help="file with our certificate, where the broker wants one")
    add("--key", help="file with its key")
    add("--seconds", type=float, default=1.0, help="how long the lamps stay")
    return known


def mistake_in(options: argparse.Namespace) -> str:
    """What cannot be meant, or nothing."""
    try:
        where = urlsplit(options.broker)
        known = where.scheme in ("mqtt", "mqtts") and where.hostname and where.port != 0
    except ValueError:
        known = False
    if not known:
        # What is wrong may be a password.
        named = options.broker.rpartition("@")[2]
        return f"argument --broker: {named} is no broker; name one such as mqtt://192.168.1.5"
    if where.password is not None:
        return "argument --broker: a password there is seen by everybody; give it in WHICH_BIN_PASSWORD"
    given = [f"--{name}" for name in ("ca", "cert", "key") if getattr(options, name)]
    if given and where.scheme == "mqtt":
        return f"argument {given[0]}: only a broker with TLS looks at it; name one with --broker mqtts://..."
    if bool(options.cert) != bool(options.key):
        return "--cert and --key need each other"
    if not 0 <= options.seconds <= 3600:
        return f"argument --seconds: {options.seconds:g} is not a time from 0 to 3600 seconds"
    return ""


if __name__ == "__main__":
    main()
