-- wrk: one small non-streaming chat, with the key from the environment.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. (os.getenv("KEY") or "none")
wrk.body = '{"model":"m","messages":[{"role":"user","content":"Why is the sky blue?"}],"stream":false}'
