/** Results that worker nodes were told to be committed, and those of which the journal says so. */
import { join } from 'node:path';
import { formatToken, type Token } from '../../common/core/token.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import { inspectJournal } from '../../coordinator/journal/inspect.ts';

export class ToldCommits {
  readonly #journalDir: string;
  readonly #told = new Set<string>();
  readonly #journaled = new Set<string>();
  readonly #callers = new Set<() => void>();
  /** Of the last record that was seen. */
  #seen = 0;

  constructor(stateDir: string) {
    this.#journalDir = join(stateDir, 'journal');
  }

  note(token: string): void {
    this.#told.add(token);
    for (const call of this.#callers) call();
  }

  onAcknowledged(call: () => void, signal: AbortSignal): void {
    this.#callers.add(call);
    signal.addEventListener('abort', () => this.#callers.delete(call));
  }

  /** While no coordinator runs: tokens that were called committed and of which the journal knows nothing. */
  async unknown(): Promise<readonly string[]> {
    let last = 0;
    const { segments } = await inspectJournal(
      { fileSystem: nodeFileSystem, dir: this.#journalDir },
      (record, number) => {
        const { kind, token } = record as { readonly kind: string; readonly token: Token };
        if (kind === 'Committed') this.#journaled.add(formatToken(token));
        last = number;
      },
    );
    // A snapshot has taken the place of records that nobody has seen here.
    const isWhole = (segments[0]?.first_record ?? 1) <= this.#seen + 1;
    this.#seen = last;
    const unknown = isWhole ? [...this.#told].filter((token) => !this.#journaled.has(token)) : [];
    this.#told.clear();
    return unknown;
  }
}
