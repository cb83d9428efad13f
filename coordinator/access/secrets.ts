/**
 * Secrets that deployments refer to as `${secret:NAME}` in `environment_variables`: one file each in `secrets` of the state
 * directory, for its owner alone. Their values go to worker nodes with the jobs that name them, in memory; the journal,
 * manifests, logs and listings have the reference.
 */
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { isSecretName, secretNames } from '../../common/core/secret-reference.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf, outsideError } from '../../common/io/errno.ts';
import { writePrivate } from '../../common/io/private-file.ts';

export interface SecretView {
  readonly name: string;
  readonly changedMs: number;
}

interface Kept {
  readonly value: string;
  readonly changedMs: number;
}

export class Secrets {
  readonly #dir: string;
  readonly #values = new Map<string, Kept>();

  private constructor(dir: string) {
    this.#dir = dir;
  }

  /** @throws STATE_UNWRITABLE */
  static async open(stateDir: string): Promise<Secrets> {
    const secrets = Secrets.at(stateDir);
    await secrets.read();
    return secrets;
  }

  /** None are known before {@link read}. */
  static at(stateDir: string): Secrets {
    return new Secrets(join(stateDir, 'secrets'));
  }

  /** @throws STATE_UNWRITABLE */
  async read(): Promise<void> {
    const dir = this.#dir;
    try {
      const names = await readdir(dir).catch((error: unknown) => {
        if (errnoOf(error) === 'ENOENT') return [];
        throw error;
      });
      for (const name of names.filter(isSecretName)) {
        const path = join(dir, name);
        this.#values.set(name, { value: await readFile(path, 'utf8'), changedMs: (await stat(path)).mtimeMs });
      }
    } catch (error) {
      throw outsideError(error, `the secrets in ${dir} cannot be read`) ?? error;
    }
  }

  /** By name. */
  list(): readonly SecretView[] {
    const views = [...this.#values].map(([name, { changedMs }]) => ({ name, changedMs }));
    return views.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** On the disk when it resolves. @throws REQUEST_INVALID, STATE_UNWRITABLE, DISK_FULL */
  async set(name: string, value: string, nowMs: number): Promise<SecretView> {
    if (!isSecretName(name)) {
      const found = JSON.stringify(name.slice(0, 100));
      throw new BatchError('REQUEST_INVALID', `a secret's name has letters, digits, "_", "-", "."; found ${found}`);
    }
    const bytes = Buffer.byteLength(value);
    if (bytes === 0 || bytes > limits.secretBytesMax || value.includes('\0')) {
      const wanted = `wanted 1 to ${limits.secretBytesMax} bytes of text without NUL`;
      throw new BatchError('REQUEST_INVALID', `the value of secret ${name}: ${wanted}, found ${bytes} bytes`);
    }
    if (!this.#values.has(name) && this.#values.size >= limits.secretsMax) {
      throw new BatchError('REQUEST_INVALID', `there are ${limits.secretsMax} secrets; delete those that nobody needs`);
    }
    try {
      await writePrivate(join(this.#dir, name), value);
    } catch (error) {
      throw outsideError(error, `secret ${name} cannot be written`) ?? error;
    }
    this.#values.set(name, { value, changedMs: nowMs });
    return { name, changedMs: nowMs };
  }

  /** @throws SECRET_NOT_FOUND */
  async remove(name: string): Promise<void> {
    if (!this.#values.delete(name)) throw missing([name]);
    await rm(join(this.#dir, name), { force: true });
  }

  /** Refuses variables that refer to what is not there. @throws SECRET_NOT_FOUND */
  require(variables: Readonly<Record<string, string>>): void {
    this.valuesFor(variables);
  }

  /** Values of the secrets that the variables refer to, by name. @throws SECRET_NOT_FOUND */
  valuesFor(variables: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
    const names = secretNames(variables);
    const unknown = names.filter((name) => !this.#values.has(name));
    if (unknown.length > 0) throw missing(unknown);
    return Object.fromEntries(names.map((name) => [name, this.#values.get(name)?.value ?? '']));
  }
}

function missing(names: readonly string[]): BatchError {
  const what = names.map((name) => `\${secret:${name}}`).join(', ');
  return new BatchError(
    'SECRET_NOT_FOUND',
    `the coordinator keeps no secret for ${what}; \`batchmill secret set ${names[0] ?? 'NAME'}\` takes it from its input`,
  );
}
