import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

interface RawResponse {
  status: number;
  headers: [name: string, value: string][];
  setCookie: string[];
  text: string;
}

/** Opens a connection and sends exactly these headers, duplicates included. Adds no `Host`. */
export function openRequest(url: string, method: string, path: string, headers: readonly string[]): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const lines = [`${method} ${path} HTTP/1.1`, ...headers, 'Content-Length: 0', 'Connection: close'];
  socket.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  return socket;
}

export async function sendRaw(
  url: string,
  method: string,
  path: string,
  headers: readonly string[],
): Promise<RawResponse> {
  const socket = openRequest(url, method, path, headers);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(socket, 'end');
  const [head = '', ...body] = Buffer.concat(chunks).toString('latin1').split('\r\n\r\n');
  const [statusLine = '', ...lines] = head.split('\r\n');
  const fields = lines.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return {
    status: Number(statusLine.split(' ')[1]),
    headers: fields,
    setCookie: fields.filter(([name]) => name === 'set-cookie').map(([, value]) => value),
    text: body.join('\r\n\r\n'),
  };
}
