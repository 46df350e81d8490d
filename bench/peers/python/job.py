"""What both ends of the Python peer share."""

import json
import random
import time

DELTA = "fifteen letters"

# json.dumps makes an encoder at each call that is not all defaults.
encode = json.JSONEncoder(separators=(",", ":")).encode


def new_id():
    """A random UUID; uuid.uuid4 asks the system each time and costs more."""
    digits = f"{random.getrandbits(128):032x}"
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}"
        f"-a{digits[17:20]}-{digits[20:]}"
    )


def envelope(kind, stream_id, sequence, payload):
    return encode(
        {
            "type": kind,
            "stream_id": stream_id,
            "message_id": new_id(),
            "sequence": sequence,
            "timestamp": time.time_ns() // 1_000_000,
            "version": 1,
            "payload": payload,
        }
    )


def cpu_us():
    return time.process_time_ns() / 1000
