// Keeps every file of the page: the second visit loads nothing, and works offline. A new build has another version.
const CACHE = "npwhisper VERSION_OF_THE_BUILD";

const PAGE = [
  "./", "style.css", "main.js", "python.js", "sound.js", "words.js", "assignments.js", "prose.js", "worker.js", "kernel.js",
]; // a first visit has loaded these before there was a worker to keep them

self.addEventListener("install", (event) => event.waitUntil(keepAll(PAGE).then(() => self.skipWaiting())));

self.addEventListener("activate", (event) => event.waitUntil(start()));

self.addEventListener("message", (event) => event.waitUntil(keepAll(event.data)));

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method === "GET" && url.origin === location.origin) event.respondWith(answer(event));
});

async function start() {
  const old = (await caches.keys()).filter((name) => name.startsWith("npwhisper ") && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
  await self.clients.claim();
}

/** From the cache, else from the server; the page itself from the server first, to notice a new build. */
async function answer(event) {
  const { request } = event;
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, { ignoreSearch: true });
  if (kept && request.mode !== "navigate") return kept;
  try {
    const response = await fetch(request);
    if (response.ok) event.waitUntil(keep(cache, request, response.clone()));
    return response;
  } catch (error) {
    if (kept) return kept;
    throw error;
  }
}

/** Load what is not kept yet; what cannot be loaded or kept now is loaded when it is needed. */
async function keepAll(names) {
  const cache = await caches.open(CACHE);
  for (const name of names) if (!(await cache.match(name))) await cache.add(name).catch(() => {});
}

/** The worker lives until the file is kept; a full disk is no reason to fail. */
const keep = (cache, request, response) => cache.put(request, response).catch(() => {});
