// The inverse of packing.py: base64, deflate, a JSON header, typed arrays.
const TYPES = { float32: Float32Array, uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array };

export async function unpack(text) {
  const packed = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const n = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, n)));
  const start = Math.ceil((4 + n) / 8) * 8;
  const arrays = {};
  for (const [name, { dtype, shape, at }] of Object.entries(header.arrays)) {
    const size = shape.reduce((a, b) => a * b, 1);
    arrays[name] = Object.assign(new TYPES[dtype](buffer, start + at, size), { shape });
  }
  return { meta: header.meta, arrays };
}

export function blockText(id) {
  return document.getElementById(id).textContent;
}
