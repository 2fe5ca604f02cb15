import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A certificate, its key, and the certificate of its authority. */
export interface Certificate {
  ca: Buffer;
  cert: Buffer;
  key: Buffer;
  caFile: string;
  certFile: string;
  keyFile: string;
}

/** A private certificate authority for a test, made with openssl in a temporary folder. */
export class CertificateAuthority {
  readonly #folder: string;
  readonly #own: Certificate;

  private constructor(folder: string, own: Certificate) {
    this.#folder = folder;
    this.#own = own;
  }

  static async create(): Promise<CertificateAuthority> {
    const folder = await mkdtemp(join(tmpdir(), 'tokensession-certificates-'));
    const files = filesIn(folder, 'authority');
    await openssl('req', '-x509', '-days', '1', '-out', files.certFile, ...keyOptions(files.keyFile, 'authority'));
    return new CertificateAuthority(folder, await read(files, files.certFile));
  }

  /** Its own certificate, for clients that trust it. */
  get cert(): Buffer {
    return this.#own.cert;
  }

  get certFile(): string {
    return this.#own.certFile;
  }

  /** A certificate for a server or client of this DNS name, and of these addresses. */
  async issue(name: string, ...addresses: string[]): Promise<Certificate> {
    const files = filesIn(this.#folder, name);
    const request = join(this.#folder, `${name}.csr`);
    const extensions = join(this.#folder, `${name}.ext`);
    const names = [`DNS:${name}`, ...addresses.map((address) => `IP:${address}`)];
    await writeFile(extensions, `subjectAltName = ${names.join()}\n`);
    await openssl('req', '-out', request, ...keyOptions(files.keyFile, name));
    const signing = ['-CA', this.#own.certFile, '-CAkey', this.#own.keyFile, '-CAcreateserial'];
    await openssl(
      'x509',
      '-req',
      '-days',
      '1',
      '-in',
      request,
      ...signing,
      '-extfile',
      extensions,
      '-out',
      files.certFile,
    );
    return read(files, this.certFile);
  }

  remove(): Promise<void> {
    return rm(this.#folder, { recursive: true, force: true });
  }
}

type Files = Pick<Certificate, 'certFile' | 'keyFile'>;

const filesIn = (folder: string, name: string): Files => ({
  certFile: join(folder, `${name}.pem`),
  keyFile: join(folder, `${name}.key`),
});

const keyOptions = (keyFile: string, name: string) => [
  ...['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', keyFile],
  ...['-subj', `/CN=${name}`],
];

const openssl = (...args: string[]) => run('openssl', args);

const read = async (files: Files, caFile: string): Promise<Certificate> => ({
  caFile,
  ca: await readFile(caFile),
  cert: await readFile(files.certFile),
  key: await readFile(files.keyFile),
  ...files,
});
