// Before JupyterLite's own service worker: what the plain page loads too, its cache has, and nothing is loaded twice.
const SHARED = "npwhisper VERSION_OF_THE_BUILD";
const shared = new URL("../static/", self.location).href;

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || !event.request.url.startsWith(shared)) return;
  event.stopImmediatePropagation();
  event.respondWith(fromShared(event));
});

async function fromShared(event) {
  const cache = await caches.open(SHARED);
  const kept = await cache.match(event.request, { ignoreSearch: true });
  if (kept) return kept;
  const response = await fetch(event.request);
  if (response.ok) event.waitUntil(cache.put(event.request, response.clone()).catch(() => {}));
  return response;
}

