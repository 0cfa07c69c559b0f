import Glibc

package enum LabProgram {
    /// Runs a lab to its end and leaves with its verdict: 0 when all goals were met, 1 when one was missed, 64 when it can't be done as asked,
    /// 130 when a person stopped it.
    package static func run(_ name: String, _ body: () throws -> Bool) {
        Interruption.listen()
        do {
            exit(try body() ? 0 : 1)
        } catch let failure as LabFailure {
            Say.progress("\(name): \(failure.message)")
            exit(64)
        } catch is Interrupted {
            Say.progress("stopped")
            exit(130)
        } catch {
            Say.progress("\(name): \(error)")
            exit(64)
        }
    }
}
