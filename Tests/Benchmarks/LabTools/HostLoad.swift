/// What the whole machine did.
package struct HostLoad {
    private let busy: Double
    private let all: Double

    package init() {
        let fields =
            Files.read("/proc/stat").split(separator: "\n").first?.split(separator: " ").dropFirst().compactMap { Double($0) } ?? []
        all = fields.reduce(0, +)
        busy = fields.count > 4 ? all - fields[3] - fields[4] : 0
    }

    /// Share of all CPUs that was not idle since then, in percent.
    package static func percent(since start: HostLoad) -> Double {
        let now = HostLoad()
        return now.all > start.all ? 100 * (now.busy - start.busy) / (now.all - start.all) : 0
    }
}
