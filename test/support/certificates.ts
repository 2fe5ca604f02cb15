import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Certificate {
  cert: Buffer;
  key: Buffer;
  certFile: string;
  keyFile: string;
}

/** A certificate authority of a test's own, made with openssl in a temporary folder. */
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
    return new CertificateAuthority(folder, await read(files));
  }

  /** Its own certificate, for those who are to trust it. */
  get cert(): Buffer {
    return this.#own.cert;
  }

  get certFile(): string {
    return this.#own.certFile;
  }

  /** A certificate for a server or client of this DNS name. */
  async issue(name: string): Promise<Certificate> {
    const files = filesIn(this.#folder, name);
    const request = join(this.#folder, `${name}.csr`);
    const extensions = join(this.#folder, `${name}.ext`);
    await writeFile(extensions, `subjectAltName = DNS:${name}\n`);
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
    return read(files);
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
  ...['-newkey', 'rsa:2048', '-nodes', '-keyout', keyFile],
  ...['-subj', `/CN=${name}`],
];

const openssl = (...args: string[]) => run('openssl', args);

const read = async (files: Files): Promise<Certificate> => ({
  cert: await readFile(files.certFile),
  key: await readFile(files.keyFile),
  ...files,
});
