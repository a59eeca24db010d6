"""sentence-transformers behind a minimal server, as people write one: python fastapi_server.py MODEL PORT THREADS"""
import asyncio
import sys

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(sys.argv[1], device="cpu")
torch.set_num_threads(int(sys.argv[3]))
app = FastAPI()


class Request(BaseModel):
    input: list[str]


@app.get("/health")
def health():
    return {}


@app.post("/v1/embeddings")
async def embeddings(request: Request):
    with torch.inference_mode():
        vectors = await asyncio.to_thread(model.encode, request.input, show_progress_bar=False)
    return {"data": [{"embedding": vector} for vector in vectors.tolist()]}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
