// A failing run of many members and many faults tells little. What remains when nothing more can be taken away tells nearly all.

/// What a search for a smaller run came to.
public struct Shrunk<Report: Sendable>: Sendable {
    /// Of the smallest run found that breaks the same promise.
    public var report: Report
    /// How many runs it took.
    public var runs: Int

    public init(report: Report, runs: Int) {
        self.report = report
        self.runs = runs
    }
}

/// A search for the smallest run that still breaks the same promise.
enum Shrinking {
    /// Takes away from `failing` for as long as what is left still breaks the promise that it broke first.
    /// - Parameters:
    ///   - runsMax: after so many runs what was found by then is given.
    ///   - broken: the promise that a run broke first; nil when all held.
    ///   - candidates: all that is a little smaller, the greatest steps first. Each makes something less and nothing more, so that this
    ///     comes to an end.
    ///   - run: nil if it may not be run any more.
    static func least<Report: Sendable, Promise: Equatable, Candidate>(
        _ failing: Report, runsMax: Int, broken: (Report) -> Promise?, candidates: (Report) -> [Candidate], run: (Candidate) -> Report?
    ) -> Shrunk<Report> {
        var least = Shrunk(report: failing, runs: 0)
        guard let promise = broken(failing) else { return least }
        search: while true {
            for candidate in candidates(least.report) where least.runs < runsMax {
                guard let report = run(candidate) else { continue }
                least.runs += 1
                guard broken(report) == promise else { continue }
                least.report = report
                continue search
            }
            return least
        }
    }

    /// A value with each of the changes by itself, but for those that change nothing.
    static func changed<Value: Equatable>(_ value: Value, _ changes: [(inout Value) -> Void]) -> [Value] {
        changes.compactMap { change in
            var changed = value
            change(&changed)
            return changed == value ? nil : changed
        }
    }

    /// The list without one of its parts: all of it, its halves, quarters, and at last each single element.
    static func fewer<Element>(_ list: [Element]) -> [[Element]] {
        var lists: [[Element]] = []
        var size = list.count
        while size > 0 {
            for start in stride(from: 0, to: list.count, by: size) {
                var fewer = list
                fewer.removeSubrange(start..<min(start + size, list.count))
                lists.append(fewer)
            }
            size /= 2
        }
        return lists
    }

    /// A time of so many milliseconds cut in half, and to whole seconds.
    static func shorter(_ milliseconds: Int64) -> [Int64] { [milliseconds / 2, milliseconds / 1000 * 1000] }
}
