import CLibFuzzer
import Foundation

/// A fuzzer of all decoders: its arguments are libFuzzer's. `mesh-fuzz --corpus DIR` writes the inputs that it begins with.
@main enum Main {
    static func main() throws {
        if CommandLine.arguments.dropFirst().first == "--corpus", let directory = CommandLine.arguments.last {
            for (name, input) in try Samples.all() {
                try Data(input).write(to: URL(filePath: directory).appending(path: name))
            }
            return
        }
        var count = CommandLine.argc
        var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
        exit(
            LLVMFuzzerRunDriver(&count, &arguments) { data, size in
                FuzzDecoder.feed(Array(UnsafeBufferPointer(start: data, count: size)))
                return 0
            })
    }
}
