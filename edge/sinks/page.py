"""The page that people see: the live preview and what the run tells of itself."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>edgetrack</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { margin: 1rem auto; max-width: 60rem; padding: 0 1rem; font: 1rem/1.4 system-ui, sans-serif;
  color: #222; background: #fff }
img { width: 100%; min-height: 8rem; background: #ddd }
table { border-collapse: collapse; width: 100% }
td { padding: .15rem .5rem; border-bottom: 1px solid #ccc; vertical-align: top }
td:first-child { white-space: nowrap; width: 12rem }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #111 }
  img { background: #222 }
}
</style></head><body>
<h1 id="camera">edgetrack</h1>
<p id="health" role="status">asking ...</p>
<img id="picture" src="stream" alt="the live preview">
<table><tbody id="rows"></tbody></table>
<p><a href="healthz">healthz</a> <a href="readyz">readyz</a> <a href="metrics">metrics</a>
<a href="status.json">status.json</a> <a href="preview.jpg">preview.jpg</a></p>
<script>
const find = id => document.getElementById(id);
const words = value => typeof value !== "object" || value === null ? String(value ?? "-")
  : Object.entries(value).map(([key, inner]) => `${key} ${words(inner)}`).join(", ");
const show = status => {
  document.title = find("camera").textContent = status.camera;
  find("rows").replaceChildren(...Object.entries(status).map(([key, value]) => {
    const row = document.createElement("tr");
    row.insertCell().textContent = key;
    row.insertCell().textContent = Array.isArray(value) ? value.join(", ") : words(value);
    return row;
  }));
};
const ask = async () => {
  try {
    find("health").textContent = await (await fetch("healthz")).text();
    show(await (await fetch("status.json")).json());
  } catch {
    find("health").textContent = "no answer: the run has ended, or the network is gone";
  }
  setTimeout(ask, 1000);
};
const look = () => { find("picture").src = `stream?${Date.now()}` };
find("picture").onerror = () => setTimeout(look, 2000);
ask();
</script></body></html>
"""
