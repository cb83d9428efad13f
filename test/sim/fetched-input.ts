/** An input file that a simulated worker node gets from the coordinator: a stream that breaks goes on where it broke, as in the real one. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { InputFile } from '../../common/core/input.ts';
import { limits } from '../../common/core/limits.ts';
import type { FetchRequest } from './cluster-service.ts';
import type { FetchChannel } from './fetch-channel.ts';

export interface FetchedInputOptions {
  readonly file: InputFile;
  readonly request: Omit<FetchRequest, 'offset'>;
  /** Of the session that is current; null while there is none. */
  readonly channel: () => FetchChannel | null;
  /** Milliseconds of the node's own clock. */
  readonly later: (delayMs: number, what: () => void) => void;
  readonly onDone: (data: Buffer) => void;
  readonly onFailed: (error: BatchError) => void;
}

export class FetchedInput {
  readonly #options: FetchedInputOptions;
  readonly #pieces: Uint8Array[] = [];
  #bytes = 0;
  /** Since the last piece. */
  #failures = 0;
  #isOver = false;
  #giveUp: () => void = () => undefined;

  constructor(options: FetchedInputOptions) {
    this.#options = options;
    // Never heard before whoever asks has it.
    options.later(0, () => this.#open());
  }

  /** Nothing more is heard. */
  cancel(): void {
    this.#isOver = true;
    this.#giveUp();
  }

  #open(): void {
    if (this.#isOver) return;
    const { channel, request } = this.#options;
    const current = channel();
    if (!current) return this.#broke(new BatchError('COORDINATOR_UNREACHABLE', 'there is no connection'));
    this.#giveUp = current.open(
      { ...request, offset: this.#bytes },
      {
        onPiece: (piece) => {
          this.#pieces.push(piece);
          this.#bytes += piece.length;
          this.#failures = 0;
        },
        onEnd: (error) => (error ? this.#broke(error) : this.#ended()),
      },
    );
  }

  #ended(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { file, onDone, onFailed } = this.#options;
    const { path, sizeBytes } = file;
    if (this.#bytes === sizeBytes) return onDone(Buffer.concat(this.#pieces));
    onFailed(new BatchError('INPUT_CHANGED', `${path} had ${sizeBytes} bytes when it was listed, ${this.#bytes} came`));
  }

  #broke(error: BatchError): void {
    if (this.#isOver) return;
    this.#failures += 1;
    if (error.code === 'COORDINATOR_UNREACHABLE' && this.#failures < limits.fetchFailuresMax) {
      return this.#options.later(limits.reconnectMsMin * 2 ** this.#failures, () => this.#open());
    }
    this.#isOver = true;
    this.#options.onFailed(error);
  }
}
