import asyncio
import json
import sys
import time

import websockets

from job import DELTA, cpu_us, encode, envelope, new_id


class Incoming:
    def __init__(self):
        self.expected = 1
        self.pieces = []

    def accept(self, event):
        if event["sequence"] != self.expected:
            raise RuntimeError("out of order")
        self.expected += 1
        if event["type"] == "text_delta":
            self.pieces.append(event["payload"]["delta"])

    def end(self, count):
        if len(self.pieces) != count:
            raise RuntimeError("lost events")
        if "".join(self.pieces) != DELTA * count:
            raise RuntimeError("wrong text")


async def read_all(ws, reading, count):
    async for text in ws:
        event = json.loads(text)
        stream = reading[event["stream_id"]]
        stream.accept(event)
        if event["type"] == "result":
            stream.end(count)
            del reading[event["stream_id"]]
            if not reading:
                return


async def main(url, streams, count):
    options = {"compression": None, "max_queue": 1024}
    async with websockets.connect(url, **options) as ws:
        cpu, started = cpu_us(), time.monotonic()
        reading = {}
        for index in range(1, streams + 1):
            stream_id = new_id()
            reading[stream_id] = Incoming()
            payload = {"index": index, "count": count}
            await ws.send(envelope("stream_request", stream_id, 1, payload))
        await read_all(ws, reading, count)
        elapsed, cpu = time.monotonic() - started, cpu_us() - cpu
        await ws.send(encode({"type": "usage"}))
        other = json.loads(await ws.recv())
    total = streams * count
    report = {
        "envelopes": total,
        "envelopes_per_s": int(total / elapsed),
        "client_cpu_us_per_envelope": cpu / total,
        "server_cpu_us_per_envelope": other["cpu_us"] / total,
    }
    print(encode(report))


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
