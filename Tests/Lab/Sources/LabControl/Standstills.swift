import Foundation

/// That a member stood still, for the machine gave it no time, or was thought dead and wasn't.
public struct Standstill: Sendable {
    public var member: String
    /// From one look at its counters to the next, which showed it.
    public var span: ClosedRange<ContinuousClock.Instant>

    /// For how long it may still be the reason that somebody has to wait: a suspicion takes 3 s, and then an agent holds a request for 3 s at most.
    private static let aftermath = Duration.seconds(6)
    /// Others may have thought it dead for a while before it heard of that.
    private static let foreboding = Duration.seconds(3)

    /// Whether something that began and ended then may be its doing.
    public func reaches(_ other: ClosedRange<ContinuousClock.Instant>) -> Bool {
        other.upperBound >= span.lowerBound.advanced(by: Duration.zero - Self.foreboding)
            && other.lowerBound <= span.upperBound.advanced(by: Self.aftermath)
    }
}

/// Looks at members' counters twice a second, so that it is known when one of them stood still.
public final class Standstills: Sendable {
    private let found = Guarded<[Standstill]>([])
    private let isOver = Guarded(false)
    private let thread: Worker

    public init(of members: [String], in lab: Lab) {
        let found = found
        let isOver = isOver
        thread = Worker {
            var last: [String: (count: Double, at: ContinuousClock.Instant)] = [:]
            while true {
                // Once more when the end was asked for: a member that stood still a moment ago has counted it by now.
                let isLast = isOver.value
                for member in members {
                    let began = ContinuousClock.now
                    // Who doesn't answer has not counted it yet either, and is looked at again.
                    guard let count = try? lab.standstills(of: member) else { continue }
                    // One that was started anew counts from 0.
                    if let before = last[member], count != before.count, count > 0 {
                        let span = before.at...ContinuousClock.now
                        found.change { $0.append(Standstill(member: member, span: span)) }
                    }
                    last[member] = (count: count, at: began)
                }
                if isLast { return }
                usleep(500_000)
            }
        }
    }

    /// Ends the looking, and tells what was seen.
    public func end() -> [Standstill] {
        isOver.change { $0 = true }
        thread.join()
        return found.value
    }
}
