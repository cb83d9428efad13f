/** Who of several processes leads: a lease that its holder renews. It spares the others the trying; it is no fence. */
export interface Election {
  /** Who leads now, as that one has called itself; null: nobody, or nobody knows. */
  leader(): Promise<string | null>;
  /** Resolves when this process holds the lease; false when the signal came first. */
  won(signal: AbortSignal): Promise<boolean>;
  /** Renews the lease until the signal is given, and then resolves with null; before, with whoever else holds it now, or '' when another one held it meanwhile. */
  held(signal: AbortSignal): Promise<string | null>;
  /** Milliseconds since a renewal was asked for that succeeded. */
  silentMs(): number;
  /** The next one need not wait until it expires. */
  resign(): Promise<void>;
}
