/// The only source of chance in the core: SplitMix64, a stored value with a stored seed.
///
/// The same seed gives the same sequence in every process, which is what lets a simulated run be replayed. It is not for
/// secrets; session ids come from ``SecretGenerator``. Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// OOPSLA 2014.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) {
        state = seed
    }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return Mix.finish(state)
    }

    /// A duration drawn evenly from `duration ± share`, for timers that must not march in step.
    public mutating func jittered(_ duration: Duration, share: Double) -> Duration {
        let factor = Double.random(in: (1 - share)...(1 + share), using: &self)
        return .nanoseconds(Int64(Double(duration.nanoseconds) * factor))
    }
}

/// Fixed 64-bit mixing, the same in every build on every machine. Placement depends on it, so it never changes.
public enum Mix {
    /// SplitMix64's finaliser: every input bit reaches every output bit.
    public static func finish(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// FNV-1a over `bytes`, finished by ``finish(_:)``.
    public static func hash(_ bytes: some Sequence<UInt8>) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        return finish(hash)
    }
}
