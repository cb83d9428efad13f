/** Questions from the coordinator that leads to those that stand by. Whoever is away does not answer, and nothing waits for it for long. */
export interface PeerBus {
  /**
   * Answers that came in time; none where nobody stands by. Rejects with JOURNAL_STREAM_UNREACHABLE when it is not known who does, with
   * JOURNAL_STREAM_UNFIT when it may not be asked.
   */
  ask(question: string, waitMs: number): Promise<readonly string[]>;
  /** Answers from now on; null: none to this question. Returns how to end that. */
  answer(reply: (question: string) => Promise<string | null>): () => void;
}
