import asyncio
import json

import websockets

from job import DELTA, cpu_us, encode, envelope


async def pump(ws, streams):
    """Sends one envelope of each stream in turn."""
    while streams:
        await asyncio.sleep(0)
        ended = []
        for stream_id, stream in streams.items():
            stream["sequence"] += 1
            sequence = stream["sequence"]
            if sequence <= stream["count"]:
                payload = {"content_index": 0, "delta": DELTA}
                text = envelope("text_delta", stream_id, sequence, payload)
            else:
                payload = {"type": "result"}
                text = envelope("result", stream_id, sequence, payload)
                ended.append(stream_id)
            await ws.send(text)
        for stream_id in ended:
            del streams[stream_id]


async def serve(ws, done):
    streams, started, task = {}, None, None
    async for text in ws:
        started = started or cpu_us()
        request = json.loads(text)
        if request["type"] == "usage":
            used = cpu_us() - started
            await ws.send(encode({"type": "usage", "cpu_us": used}))
            continue
        count = request["payload"]["count"]
        streams[request["stream_id"]] = {"sequence": 0, "count": count}
        if task is None or task.done():
            task = asyncio.create_task(pump(ws, streams))
    done.set()


async def main():
    done = asyncio.Event()
    server = await websockets.serve(
        lambda ws: serve(ws, done), "127.0.0.1", 0, compression=None
    )
    port = server.sockets[0].getsockname()[1]
    print(f"ws://127.0.0.1:{port}", flush=True)
    await done.wait()


asyncio.run(main())
