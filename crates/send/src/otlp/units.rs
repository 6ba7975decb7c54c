//! Units: words in Prometheus, codes of UCUM in OTLP.
//!
//! Source: the OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility", section
//! "Metric Metadata".

/// Returns the code of a unit, or the unit itself if it has none.
pub(super) fn code(unit: &str) -> &str {
    match unit {
        "days" => "d",
        "hours" => "h",
        "minutes" => "min",
        "seconds" => "s",
        "milliseconds" => "ms",
        "microseconds" => "us",
        "nanoseconds" => "ns",
        "bytes" => "By",
        "kibibytes" => "KiBy",
        "mebibytes" => "MiBy",
        "gibibytes" => "GiBy",
        "tebibytes" => "TiBy",
        "kilobytes" => "kBy",
        "megabytes" => "MBy",
        "gigabytes" => "GBy",
        "terabytes" => "TBy",
        "meters" => "m",
        "volts" => "V",
        "amperes" => "A",
        "joules" => "J",
        "watts" => "W",
        "grams" => "g",
        "celsius" => "Cel",
        "hertz" => "Hz",
        "percent" => "%",
        // Not in the table of the specification, which has it on the way back.
        "ratio" => "1",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn common_units_have_codes_and_others_stay() {
        let units = ["seconds", "bytes", "ratio", "celsius", "pages", ""];
        assert_eq!(units.map(code), ["s", "By", "1", "Cel", "pages", ""]);
    }
}
